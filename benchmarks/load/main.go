// Command load is a closed-loop load generator for the comparison: every client has one request, or one pipeline of
// requests, on its way and sends the next when it is answered. It speaks RESP to Redis-like servers and uses the
// official client of etcd, so that both systems are driven by the same program. It prints one JSON object.
//
// Debian: apt-get install golang-go golang-etcd-server-dev
// Build:  GO111MODULE=off GOPATH=/usr/share/gocode go build -o load .
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/clientv3"
)

// A client carries out one step: `count` operations on `keys`, all reads or all writes.
type client interface {
	read(keys []string) error
	write(keys []string, value string) error
}

type report struct {
	Operations int     `json:"operations"`
	All        int     `json:"all_operations"` // those of the warm-up, too
	Seconds    float64 `json:"seconds"`
	PerSecond  float64 `json:"per_second"`
	P50        float64 `json:"p50_ms"`
	P90        float64 `json:"p90_ms"`
	P95        float64 `json:"p95_ms"`
	P99        float64 `json:"p99_ms"`
	P999       float64 `json:"p999_ms"`
	Max        float64 `json:"max_ms"`
	Errors     int     `json:"errors"`
	FirstError string  `json:"first_error"`
}

func main() {
	system := flag.String("system", "resp", "resp or etcd")
	endpoints := flag.String("endpoints", "127.0.0.1:6379", "host:port, comma separated; clients are dealt out in turn")
	clients := flag.Int("clients", 64, "closed loops")
	pipeline := flag.Int("pipeline", 1, "RESP requests per round trip")
	seconds := flag.Float64("seconds", 5, "measured time")
	warmup := flag.Float64("warmup", 0.5, "time before it")
	size := flag.Int("size", 128, "bytes per value")
	reads := flag.Float64("reads", 0, "share of reads, 0 to 1")
	keys := flag.Int("keys", 10000, "distinct keys, chosen evenly")
	fill := flag.Bool("fill", false, "write every key once first, so that reads find something")
	flag.Parse()

	dial, err := dialer(*system, strings.Split(*endpoints, ","), *clients)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	value := strings.Repeat("x", *size)
	if *fill {
		if err := writeAll(dial, *clients, *keys, value); err != nil {
			fmt.Fprintln(os.Stderr, "filling:", err)
			os.Exit(1)
		}
	}
	begin := time.Now().Add(time.Duration(*warmup * float64(time.Second)))
	end := begin.Add(time.Duration(*seconds * float64(time.Second)))
	loops := make([]loop, *clients)
	var group sync.WaitGroup
	for n := range loops {
		group.Add(1)
		go func(n int) {
			defer group.Done()
			l := &loops[n]
			target, err := dial(n)
			if err != nil {
				l.fail(err)
				return
			}
			l.run(target, rand.New(rand.NewSource(int64(n))), begin, end, *pipeline, *keys, *reads, value)
		}(n)
	}
	group.Wait()
	json.NewEncoder(os.Stdout).Encode(summarize(loops, *pipeline, *seconds))
}

func key(number int) string {
	return fmt.Sprintf("key:%012d", number)
}

// writeAll writes every key once, each client its share, sixteen at a time where requests can be sent together.
func writeAll(dial func(int) (client, error), clients, keys int, value string) error {
	failed := make(chan error, clients)
	for n := 0; n < clients; n++ {
		go func(n int) {
			target, err := dial(n)
			for first := n * 16; err == nil && first < keys; first += clients * 16 {
				var chosen []string
				for number := first; number < first+16 && number < keys; number++ {
					chosen = append(chosen, key(number))
				}
				err = target.write(chosen, value)
				for try := 0; err != nil && try < 20; try++ { // a busy machine, an election
					time.Sleep(200 * time.Millisecond)
					err = target.write(chosen, value)
				}
			}
			failed <- err
		}(n)
	}
	var first error
	for n := 0; n < clients; n++ {
		if err := <-failed; first == nil {
			first = err
		}
	}
	return first
}

type loop struct {
	latencies []float64
	steps     int
	errors    int
	first     error
}

func (l *loop) fail(err error) {
	l.errors++
	if l.first == nil {
		l.first = err
	}
}

func (l *loop) run(
	target client, random *rand.Rand, begin, end time.Time, pipeline, keys int, reads float64, value string,
) {
	chosen := make([]string, pipeline)
	for {
		for n := range chosen {
			chosen[n] = key(random.Intn(keys))
		}
		sent := time.Now()
		if sent.After(end) {
			return
		}
		var err error
		if random.Float64() < reads {
			err = target.read(chosen)
		} else {
			err = target.write(chosen, value)
		}
		answered := time.Now()
		if err != nil {
			l.fail(err)
			if l.errors > 100 {
				return
			}
			continue
		}
		l.steps++
		if answered.After(begin) && answered.Before(end) {
			l.latencies = append(l.latencies, answered.Sub(sent).Seconds()*1000)
		}
	}
}

func summarize(loops []loop, pipeline int, seconds float64) report {
	var all []float64
	result := report{Seconds: seconds}
	for _, l := range loops {
		all = append(all, l.latencies...)
		result.Errors += l.errors
		result.All += l.steps * pipeline
		if l.first != nil && result.FirstError == "" {
			result.FirstError = l.first.Error()
		}
	}
	if len(all) == 0 {
		return result
	}
	sort.Float64s(all)
	at := func(share float64) float64 { return all[min(len(all)-1, int(share*float64(len(all))))] }
	result.Operations = len(all) * pipeline
	result.PerSecond = float64(result.Operations) / seconds
	result.P50, result.P90, result.P95, result.P99 = at(0.5), at(0.9), at(0.95), at(0.99)
	result.P999, result.Max = at(0.999), all[len(all)-1]
	return result
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}

// dialer returns a function that connects client number n.
func dialer(system string, endpoints []string, clients int) (func(int) (client, error), error) {
	switch system {
	case "resp":
		return func(n int) (client, error) {
			connection, err := net.Dial("tcp", endpoints[n%len(endpoints)])
			if err != nil {
				return nil, err
			}
			return &resp{bufio.NewReaderSize(connection, 1<<16), bufio.NewWriterSize(connection, 1<<16)}, nil
		}, nil
	case "etcd":
		// One connection for eight clients: fewer wait for each other, more cost the server handshakes and threads.
		shared := make([]*clientv3.Client, (clients+7)/8)
		for n := range shared {
			config := clientv3.Config{Endpoints: endpoints, DialTimeout: 5 * time.Second}
			connection, err := clientv3.New(config)
			if err != nil {
				return nil, err
			}
			shared[n] = connection
		}
		return func(n int) (client, error) { return &etcd{shared[n%len(shared)]}, nil }, nil
	}
	return nil, errors.New("-system takes resp or etcd, not " + system)
}

type resp struct {
	in  *bufio.Reader
	out *bufio.Writer
}

func (r *resp) read(keys []string) error {
	for _, key := range keys {
		r.send("GET", key)
	}
	return r.receive(len(keys))
}

func (r *resp) write(keys []string, value string) error {
	for _, key := range keys {
		r.send("SET", key, value)
	}
	return r.receive(len(keys))
}

func (r *resp) send(words ...string) {
	r.out.WriteString("*" + strconv.Itoa(len(words)) + "\r\n")
	for _, word := range words {
		r.out.WriteString("$" + strconv.Itoa(len(word)) + "\r\n")
		r.out.WriteString(word)
		r.out.WriteString("\r\n")
	}
}

// receive reads simple strings, errors and bulk strings: what SET and GET answer.
func (r *resp) receive(count int) error {
	if err := r.out.Flush(); err != nil {
		return err
	}
	var refused error
	for n := 0; n < count; n++ {
		line, err := r.in.ReadString('\n')
		if err != nil {
			return err
		}
		switch line[0] {
		case '-':
			refused = errors.New(strings.TrimSpace(line[1:]))
		case '$':
			length, err := strconv.Atoi(strings.TrimSpace(line[1:]))
			if err != nil {
				return err
			}
			if length >= 0 {
				if _, err := io.CopyN(io.Discard, r.in, int64(length)+2); err != nil {
					return err
				}
			}
		case '+', '_':
		default:
			return errors.New("unexpected answer " + line)
		}
	}
	return refused
}

type etcd struct{ *clientv3.Client }

func (e *etcd) read(keys []string) error {
	for _, key := range keys {
		if _, err := e.Get(context.Background(), key); err != nil {
			return err
		}
	}
	return nil
}

func (e *etcd) write(keys []string, value string) error {
	for _, key := range keys {
		if _, err := e.Put(context.Background(), key, value); err != nil {
			return err
		}
	}
	return nil
}
