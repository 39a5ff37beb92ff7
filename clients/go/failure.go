// SPDX-License-Identifier: Apache-2.0

package l4lb

import (
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

// Failure is what the agent says of a call that failed (google.rpc.ErrorInfo and BadRequest, AIP-193).
type Failure struct {
	Code     string            // gRPC status, for instance NOT_FOUND
	Reason   string            // the agent's own word for programs, empty when no agent answered
	Field    string            // path of the field to blame, or empty
	Message  string            // for people
	Metadata map[string]string // the variable parts of the message
}

// FailureOf takes the details from an error of a call.
func FailureOf(err error) Failure {
	said := status.Convert(err)
	failure := Failure{Code: code.Code(said.Code()).String(), Message: said.Message()}
	for _, detail := range said.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			failure.Reason, failure.Metadata = detail.Reason, detail.Metadata
		case *errdetails.BadRequest:
			if len(detail.FieldViolations) > 0 {
				failure.Field = detail.FieldViolations[0].Field
			}
		}
	}
	return failure
}
