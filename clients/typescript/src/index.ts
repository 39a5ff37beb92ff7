// SPDX-License-Identifier: Apache-2.0

// Client of the l4lb load balancer: the generated code, a connection, errors with the agent's own words, streams over restarts of the agent.
export * from "./client.js";
export * from "./failure.js";
export * from "./streams.js";
export * from "./gen/l4lb/v1/agent_pb.js";
export * from "./gen/l4lb/v1/backend_pb.js";
export * from "./gen/l4lb/v1/prefix_list_pb.js";
export * from "./gen/l4lb/v1/reason_pb.js";
export * from "./gen/l4lb/v1/service_pb.js";
export * from "./gen/l4lb/v1/stats_pb.js";
export * from "./gen/l4lb/v1/virtual_service_pb.js";
