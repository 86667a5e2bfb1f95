package node

import (
	"bytes"
	"crypto/tls"
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
	encrypted := os.Getenv("NDRING_HTTP_TLS") == "yes"
	c := &cobra.Command{
		Use: "healthcheck", Short: "Exit with 0 if a node is ready, with 1 if not", Args: noArguments,
		Long: "Asks a node on this machine whether it is ready: part of its cluster and serving its shards. It needs no password, and with --tls it does not " +
			"check the certificate, which need not name this address.",
		RunE: func(*cobra.Command, []string) error {
			if warning != "" {
				fmt.Fprintln(p.err, "ndring:", warning)
			}
			return healthcheck(address, encrypted, p.out)
		},
	}
	c.Flags().StringVar(&address, "addr", address, "HTTP address `HOST:PORT` of the node")
	c.Flags().BoolVar(&encrypted, "tls", encrypted, "the node has --http-tls (default: NDRING_HTTP_TLS)")
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

func healthcheck(address string, encrypted bool, stdout io.Writer) error {
	client, scheme := http.Client{Timeout: 3 * time.Second}, "http"
	if encrypted {
		scheme = "https"
		client.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // as Kubernetes does: it sends and learns no secret
	}
	reply, err := client.Get(scheme + "://" + address + "/readyz")
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
