// SPDX-License-Identifier: Apache-2.0

// Command example shows what a controller does: add a backend, drain it and wait, read statistics, watch over restarts of the agent.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	l4lb "l4lb/clients/go"
	"l4lb/clients/go/l4lbv1"
)

const usage = `usage: example [flags] COMMAND
  add SERVICE/BACKEND ADDRESS WEIGHT   adds a backend to a virtual service
  drain SERVICE/BACKEND                takes it out and waits for its last flow
  stats SAMPLES                        reads a sample each half second
  watch SERVICE|- EVENTS               tells what happens to backends; 0 events is for ever

`

var errEnough = errors.New("enough")

func main() {
	var files l4lb.TLS
	target := flag.String("target", "unix:///run/l4lb/admin.sock", "the agent: unix:///path or host:port")
	flag.StringVar(&files.CA, "ca", "", "PEM file of the certificates to trust, for host:port")
	flag.StringVar(&files.Cert, "cert", "", "PEM file of this client's certificate")
	flag.StringVar(&files.Key, "key", "", "PEM file of its key")
	flag.StringVar(&files.ServerName, "server-name", "", "name in the agent's certificate, when not the host of the target")
	flag.Usage = func() { fmt.Fprint(flag.CommandLine.Output(), usage); flag.PrintDefaults() }
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	lb, err := l4lb.Dial(*target, files)
	if err == nil {
		defer lb.Close()
		err = run(ctx, lb, flag.Args())
	}
	if err != nil && !errors.Is(err, errEnough) {
		failure := l4lb.FailureOf(err)
		fmt.Fprintf(os.Stderr, "example: %s %s: %s\n", failure.Code, failure.Reason, failure.Message)
		os.Exit(1)
	}
}

func run(ctx context.Context, lb *l4lb.Client, words []string) error {
	switch {
	case len(words) == 4 && words[0] == "add":
		return add(ctx, lb, words[1], words[2], number(words[3]))
	case len(words) == 2 && words[0] == "drain":
		return drain(ctx, lb, words[1])
	case len(words) == 2 && words[0] == "stats":
		return stats(ctx, lb, number(words[1]))
	case len(words) == 3 && words[0] == "watch":
		return watch(ctx, lb, words[1], number(words[2]))
	}
	flag.Usage()
	os.Exit(2)
	return nil
}

func number(text string) uint32 {
	value, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		flag.Usage()
		os.Exit(2)
	}
	return uint32(value)
}

func add(ctx context.Context, lb *l4lb.Client, name, address string, weight uint32) error {
	service, id, _ := strings.Cut(name, "/")
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	answer, err := lb.AddBackend(ctx, &l4lbv1.AddBackendRequest{
		Parent:    "services/" + service,
		BackendId: id,
		Backend:   &l4lbv1.Backend{Address: address, Weight: &weight},
		RequestId: l4lb.NewRequestID(), // the same for every attempt: it is added once
	})
	if err != nil {
		return err
	}
	backend := answer.Backend
	if backend.Reconciling {
		fmt.Printf("added %s, not yet forwarded to: %s\n", backend.Name, backend.ReconcilingReason)
		return nil
	}
	fmt.Printf("added %s, %.0f %% of the slots\n", backend.Name, 100*backend.SlotShare)
	return nil
}

func drain(ctx context.Context, lb *l4lb.Client, name string) error {
	service, id, _ := strings.Cut(name, "/")
	full := "services/" + service + "/backends/" + id
	policy := &l4lbv1.DrainPolicy{Timeout: durationpb.New(5 * time.Minute)}
	if _, err := lb.DrainBackend(ctx, &l4lbv1.DrainBackendRequest{Name: full, Policy: policy, RequestId: l4lb.NewRequestID()}); err != nil {
		return err
	}
	drained, err := lb.WaitDrained(ctx, full, func(backend *l4lbv1.Backend) {
		fmt.Printf("%s: %d of %d flows left\n", name, backend.Drain.RemainingFlows, backend.Drain.InitialFlows)
	})
	if err != nil {
		return err
	}
	fmt.Printf("%s: drained, %s\n", name, drained.Drain.Result)
	return nil
}

func stats(ctx context.Context, lb *l4lb.Client, samples uint32) error {
	request := &l4lbv1.StreamStatsRequest{Interval: durationpb.New(500 * time.Millisecond), Samples: samples}
	return lb.Stats(ctx, request, func(sample *l4lbv1.Stats) error {
		for _, backend := range sample.Backends {
			traffic := backend.Traffic
			fmt.Printf("%s: %d flows, %d active, %d packets in\n", backend.Backend, traffic.Flows, traffic.ActiveFlows, traffic.PacketsIn)
		}
		return nil
	})
}

func watch(ctx context.Context, lb *l4lb.Client, service string, events uint32) error {
	var told uint32
	return lb.Watch(ctx, "services/"+service, func(message *l4lbv1.WatchBackendsResponse) error {
		fmt.Printf("%s %s at revision %d\n", message.Event, message.Backend.GetName(), message.Revision)
		if told++; told == events {
			return errEnough
		}
		return nil
	})
}
