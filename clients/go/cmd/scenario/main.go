// SPDX-License-Identifier: Apache-2.0

// Command scenario runs clients/scenario.json with the generated Go client; clients/README.md says what a scenario is.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"

	l4lb "l4lb/clients/go"
)

type step struct {
	Fact     string            `json:"fact"`
	RPC      string            `json:"rpc"`
	Request  map[string]any    `json:"request"`
	Answer   map[string]any    `json:"answer"`
	Error    map[string]any    `json:"error"`
	Keep     map[string]string `json:"keep"`
	Stream   []item            `json:"stream"`
	Complete bool              `json:"complete"`
}

// One thing that happens while a stream is open: its next message, the first message that is so, or another step.
type item struct {
	Next  map[string]any `json:"next"`
	Until map[string]any `json:"until"`
	Step  *step          `json:"step"`
}

type variables map[string]string

func (v variables) String() string { return "" }

func (v variables) Set(text string) error {
	name, value, found := strings.Cut(text, "=")
	if !found {
		return fmt.Errorf("write it NAME=VALUE")
	}
	v[name] = value
	return nil
}

func main() {
	var files l4lb.TLS
	known := variables{}
	target := flag.String("target", "unix:///run/l4lb/admin.sock", "the agent: unix:///path or host:port")
	flag.StringVar(&files.CA, "ca", "", "PEM file of the certificates to trust, for host:port")
	flag.StringVar(&files.Cert, "cert", "", "PEM file of this client's certificate")
	flag.StringVar(&files.Key, "key", "", "PEM file of its key")
	flag.StringVar(&files.ServerName, "server-name", "", "name in the agent's certificate, when not the host of the target")
	flag.Var(known, "set", "NAME=VALUE of a variable of the scenario; may be repeated")
	flag.Parse()
	if err := play(*target, files, flag.Arg(0), known); err != nil {
		fmt.Fprintln(os.Stderr, "scenario:", err)
		os.Exit(1)
	}
}

func play(target string, files l4lb.TLS, file string, known variables) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var scenario struct {
		Steps []step `json:"steps"`
	}
	if err := json.Unmarshal(text, &scenario); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	lb, err := l4lb.Dial(target, files)
	if err != nil {
		return err
	}
	defer lb.Close()
	run := runner{lb: lb, known: known, called: map[string]bool{}}
	for _, step := range scenario.Steps {
		if err := run.step(step); err != nil {
			return err
		}
	}
	fmt.Printf("go: %d steps, %d rpcs\n", run.steps, len(run.called))
	return nil
}
