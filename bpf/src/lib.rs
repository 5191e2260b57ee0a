//! The XDP program that steers frames to AF_XDP sockets, and its loader.
