"""What a packet costs: nanoseconds of the datapath's programs beside a bare program that sends back, measured by the kernel itself."""
