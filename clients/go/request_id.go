// SPDX-License-Identifier: Apache-2.0

package l4lb

import (
	"crypto/rand"
	"fmt"
)

// NewRequestID returns a random UUID (RFC 9562, version 4) for a change.
func NewRequestID() string {
	var id [16]byte
	rand.Read(id[:]) // never fails since Go 1.24
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}
