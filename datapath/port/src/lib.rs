//! Ways to move frames: AF_XDP, UDP sockets and memory.
