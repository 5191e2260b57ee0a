//! Real clusters in network namespaces, with faults, for the tests and the demo.
