package node

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"
)

func (p *cli) healthcheckCommand() *cobra.Command {
	address, warning := healthcheckAddress()
	c := &cobra.Command{
		Use: "healthcheck", Short: "Exit with 0 if a node is ready, with 1 if not", Args: noArguments,
		Long: "Asks a node on this machine whether it is ready: part of its cluster and serving its shards.",
		RunE: func(*cobra.Command, []string) error {
			if warning != "" {
				fmt.Fprintln(p.err, "ndring:", warning)
			}
			return healthcheck(address, p.out)
		},
	}
	c.Flags().StringVar(&address, "addr", address, "HTTP address `HOST:PORT` of the node")
	return c
}

// healthcheckAddress returns the HTTP address that a node with this environment has.
func healthcheckAddress() (address, warning string) {
	host, port := "127.0.0.1", "7380"
	if bind, err := netip.ParseAddr(os.Getenv("NDRING_BIND")); err == nil && !bind.IsUnspecified() {
		host = bind.String()
	}
	if p, ok := os.LookupEnv("NDRING_HTTP_PORT"); ok && ofKubernetes("NDRING_HTTP_PORT", p) {
		warning = fmt.Sprintf("ignoring NDRING_HTTP_PORT=%s: Kubernetes sets it for a Service of that name", p)
	} else if ok {
		port = p
	}
	return net.JoinHostPort(host, port), warning
}

func healthcheck(address string, stdout io.Writer) error {
	client := http.Client{Timeout: 3 * time.Second}
	reply, err := client.Get("http://" + address + "/readyz")
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(reply.Body, 1000))
		return fmt.Errorf("%s answers %s: %s", address, reply.Status, bytes.TrimSpace(why))
	}
	_, err = fmt.Fprintln(stdout, "ready")
	return err
}
