// SPDX-License-Identifier: Apache-2.0

// Package l4lb reaches the agent of an l4lb load balancer. Calls are those of the generated l4lbv1.LoadBalancerServiceClient; what is here
// connects, says why something failed, and keeps streams going over restarts of the agent.
package l4lb

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"l4lb/clients/go/l4lbv1"
)

// UNAVAILABLE alone is retried: a change carries its request_id, so that the agent does it once (AIP-194).
const serviceConfig = `{"methodConfig": [{"name": [{"service": "l4lb.v1.LoadBalancerService"}], "retryPolicy": {"maxAttempts": 5,
"initialBackoff": "0.2s", "maxBackoff": "2s", "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}}]}`

// TLS are the PEM files of a connection over TCP: whom to trust, and who the caller is. ServerName is the name in the agent's certificate
// when that is not the host of the target.
type TLS struct {
	CA, Cert, Key, ServerName string
}

// Client is a connection to one agent. It is safe for concurrent use.
type Client struct {
	l4lbv1.LoadBalancerServiceClient
	conn *grpc.ClientConn
	// Patience is for how long a stream tries to come back after it lost the agent.
	Patience time.Duration
}

// Dial returns a client of target, `unix:///path` or `host:port`; the latter needs files, for the agent speaks mutual TLS only. The
// connection is made by the first call.
func Dial(target string, files TLS) (*Client, error) {
	secured := insecure.NewCredentials()
	if !strings.HasPrefix(target, "unix:") {
		config, err := files.config()
		if err != nil {
			return nil, err
		}
		secured = credentials.NewTLS(config)
	}
	quick := backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}
	conn, err := grpc.NewClient(target,
		grpc.WithTransportCredentials(secured),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: quick, MinConnectTimeout: 5 * time.Second}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
	)
	if err != nil {
		return nil, fmt.Errorf("target %q: %w", target, err)
	}
	return &Client{l4lbv1.NewLoadBalancerServiceClient(conn), conn, time.Minute}, nil
}

// Close ends every call that runs and the connection.
func (c *Client) Close() error { return c.conn.Close() }

func (t TLS) config() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, fmt.Errorf("certificate and key of this client: %w", err)
	}
	pem, err := os.ReadFile(t.CA)
	if err != nil {
		return nil, fmt.Errorf("certificates to trust: %w", err)
	}
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("certificates to trust: %s holds none", t.CA)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: trusted, ServerName: t.ServerName, MinVersion: tls.VersionTLS13}, nil
}
