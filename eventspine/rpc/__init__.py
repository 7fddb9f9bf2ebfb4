"""gRPC: hosting methods, translating errors, health and limits."""
