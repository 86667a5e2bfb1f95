// Command goredis runs the cluster client of go-redis for the e2e tests, on the host and in a container: it
// stores arrays, fetches them, and prints every address that it dialled.
package main

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/internal/loadtest"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: goredis HOST:PORT PREFIX")
		os.Exit(2)
	}
	dialled, err := run(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, address := range dialled {
		fmt.Println(address)
	}
}

// run stores arrays on all nodes, under the given key prefix, fetches them, and returns the addresses that it dialled.
func run(seed, prefix string) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var mu sync.Mutex // guards dialled
	dialled := map[string]bool{}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{seed}, Dialer: func(ctx context.Context, network, address string) (net.Conn, error) {
		mu.Lock()
		dialled[address] = true
		mu.Unlock()
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}})
	defer client.Close()
	const count = 200
	for i := range count {
		if err := client.Do(ctx, "NP.SET", fmt.Sprint(prefix, i), loadtest.Array(uint64(i), 1+i*100)).Err(); err != nil {
			return nil, err
		}
	}
	for i := range count {
		got, err := client.Do(ctx, "NP.GET", fmt.Sprint(prefix, i)).Text()
		if err != nil {
			return nil, err
		}
		if got != loadtest.Array(uint64(i), 1+i*100) {
			return nil, fmt.Errorf("%s%d is not what was stored", prefix, i)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	return slices.Sorted(maps.Keys(dialled)), nil
}
