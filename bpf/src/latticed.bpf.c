// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The XDP program: brings the cluster's frames to AF_XDP sockets, and lets everything else pass to the kernel.
//
//   Ethernet [VLAN [VLAN]] (IPv4 [options] | IPv6) UDP frame
//                                 |                  |
//            to our address and port range?          checks, cheapest to refuse first:
//            no: XDP_PASS, untouched                 fragment, lengths, source, magic, version, cluster
//                                                    fails: XDP_DROP, counted by reason and CPU
//                                                    holds: redirect to the AF_XDP socket of the receive queue
//
// Once the four settings say that a datagram is ours, no failing check lets it pass: the kernel has no socket for it and
// would answer a stranger with ICMP. What can't be recognised as ours (IPv6 extension headers, later fragments, three
// VLAN tags) passes; the daemons never send it.
//
// The port of the sessions is the kernel's: what peers send there passes. Strangers have to be heard as well, since a node that
// joins is one; but no more of them than the control thread can listen to: a bucket of tokens per CPU. The rest is dropped here,
// where it costs least. While strangers flood, joining takes longer; members notice nothing.
//
// The checks are a filter, not a proof: user space parses again, and verifies the frame's tag.
//
// LATTICE_* and enum drop_reason come from latticed_generated.h, written by build.rs from the wire crate's constants
// and from reasons.rs, so that neither can drift.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "latticed_generated.h"

#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV4_FRAGMENT_OFFSET 0x1fff
#define MAX_VLAN_TAGS 2

struct vlan_tag {
	__be16 tci;
	__be16 inner_protocol;
};

// IPv4 addresses as ::ffff:a.b.c.d, so that one map and one comparison serve both families.
struct address {
	__u32 words[4];
};

// Set once by the loader, before the verifier sees the program: constants, as far as it is concerned.
const volatile __u32 cluster_tag = 0;
const volatile __u16 port_base = 0;
const volatile __u16 port_count = 0;
const volatile __u16 control_port = 0; // 0: there is none
const volatile struct address local_address = {};

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, LATTICE_MAX_QUEUES);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LATTICE_MAX_SOURCES);
	__type(key, struct address);
	__type(value, __u8);
} sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DROP_REASON_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} drops SEC(".maps");

struct bucket {
	__u64 tokens;
	__u64 filled_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bucket);
} strangers SEC(".maps");

// What the address families have in common.
struct datagram {
	struct address source;
	struct address destination;
	struct udphdr *udp;
	__u32 length_by_ip; // UDP header and payload, as the IP header tells it
	bool fragment;
};

static __always_inline int drop(enum drop_reason reason)
{
	__u32 key = reason;
	__u64 *counter = bpf_map_lookup_elem(&drops, &key);

	if (counter)
		*counter += 1; // per CPU, and a program is not preempted by itself there
	return XDP_DROP;
}

static __always_inline void map_ipv4(struct address *to, __be32 from)
{
	to->words[0] = 0;
	to->words[1] = 0;
	to->words[2] = bpf_htonl(0xffff);
	to->words[3] = from;
}

static __always_inline bool is_local(const struct address *address)
{
	return address->words[0] == local_address.words[0] && address->words[1] == local_address.words[1] &&
	       address->words[2] == local_address.words[2] && address->words[3] == local_address.words[3];
}

// Fills `datagram` from an IPv4 header; false when it carries no UDP that can be recognised.
static __always_inline bool parse_ipv4(struct datagram *datagram, void *at, void *end)
{
	struct iphdr *ip = at;
	__u32 header_bytes;

	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5 || ip->protocol != IPPROTO_UDP)
		return false;
	// A later fragment has no UDP header: whose it is, nobody can tell.
	if (ip->frag_off & bpf_htons(IPV4_FRAGMENT_OFFSET))
		return false;
	header_bytes = ip->ihl * 4;
	if (bpf_ntohs(ip->tot_len) < header_bytes)
		return false;
	map_ipv4(&datagram->source, ip->saddr);
	map_ipv4(&datagram->destination, ip->daddr);
	datagram->length_by_ip = bpf_ntohs(ip->tot_len) - header_bytes;
	datagram->fragment = ip->frag_off & bpf_htons(IPV4_MORE_FRAGMENTS);
	datagram->udp = at + header_bytes;
	return true;
}

// Fills `datagram` from an IPv6 header; false when UDP does not follow it directly.
static __always_inline bool parse_ipv6(struct datagram *datagram, void *at, void *end)
{
	struct ipv6hdr *ip = at;

	if ((void *)(ip + 1) > end || ip->version != 6 || ip->nexthdr != IPPROTO_UDP)
		return false;
	__builtin_memcpy(&datagram->source, &ip->saddr, sizeof(datagram->source));
	__builtin_memcpy(&datagram->destination, &ip->daddr, sizeof(datagram->destination));
	datagram->length_by_ip = bpf_ntohs(ip->payload_len);
	datagram->fragment = false;
	datagram->udp = (void *)(ip + 1);
	return true;
}

// Finds the IP header behind at most two VLAN tags and parses it; false: not ours to judge.
static __always_inline bool parse(struct datagram *datagram, void *at, void *end)
{
	struct ethhdr *ethernet = at;
	__be16 protocol;

	if ((void *)(ethernet + 1) > end)
		return false;
	protocol = ethernet->h_proto;
	at = ethernet + 1;
#pragma unroll
	for (int tags = 0; tags < MAX_VLAN_TAGS; tags++) {
		struct vlan_tag *tag = at;

		if (protocol != bpf_htons(ETH_P_8021Q) && protocol != bpf_htons(ETH_P_8021AD))
			break;
		if ((void *)(tag + 1) > end)
			return false;
		protocol = tag->inner_protocol;
		at = tag + 1;
	}
	if (protocol == bpf_htons(ETH_P_IP))
		return parse_ipv4(datagram, at, end);
	if (protocol == bpf_htons(ETH_P_IPV6))
		return parse_ipv6(datagram, at, end);
	return false;
}

// The checks of the frame's header that need no state. `frame_bytes` is what UDP says; all of it is in the packet.
static __always_inline int check_frame(__u8 *frame, __u32 frame_bytes, void *end, enum drop_reason *reason)
{
	__u32 tag;
	__u16 payload_bytes;

	if (frame_bytes < LATTICE_HEADER_BYTES + LATTICE_TAG_BYTES || (void *)(frame + LATTICE_HEADER_BYTES) > end)
		*reason = DROP_TOO_SHORT;
	else if (frame_bytes > LATTICE_MAX_FRAME_BYTES)
		*reason = DROP_TOO_LONG;
	else if (frame[LATTICE_MAGIC_OFFSET] != LATTICE_MAGIC_0 || frame[LATTICE_MAGIC_OFFSET + 1] != LATTICE_MAGIC_1)
		*reason = DROP_BAD_MAGIC;
	else if (frame[LATTICE_VERSION_OFFSET] != LATTICE_VERSION)
		*reason = DROP_BAD_VERSION;
	else {
		// The wire is little-endian; so that big-endian hosts agree, bytes are put together by hand.
		__u8 *at = frame + LATTICE_CLUSTER_TAG_OFFSET;

		tag = at[0] | at[1] << 8 | at[2] << 16 | (__u32)at[3] << 24;
		at = frame + LATTICE_PAYLOAD_LEN_OFFSET;
		payload_bytes = at[0] | at[1] << 8;
		if (tag != cluster_tag)
			*reason = DROP_WRONG_CLUSTER;
		else if (LATTICE_HEADER_BYTES + payload_bytes + LATTICE_TAG_BYTES != frame_bytes)
			*reason = DROP_BAD_LENGTH;
		else
			return 0;
	}
	return -1;
}

// Takes a token out of this CPU's bucket, which begins full.
static __always_inline bool stranger_may_pass(void)
{
	__u32 key = 0;
	struct bucket *bucket = bpf_map_lookup_elem(&strangers, &key);
	__u64 now, earned;

	if (!bucket)
		return true;
	now = bpf_ktime_get_ns();
	earned = (now - bucket->filled_ns) / LATTICE_STRANGER_INTERVAL_NS;
	if (earned) {
		bucket->filled_ns += earned * LATTICE_STRANGER_INTERVAL_NS;
		bucket->tokens += earned;
		if (bucket->tokens > LATTICE_STRANGER_BURST)
			bucket->tokens = LATTICE_STRANGER_BURST;
	}
	if (!bucket->tokens)
		return false;
	bucket->tokens--;
	return true;
}

SEC("xdp")
int latticed(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct datagram datagram;
	enum drop_reason reason;
	__u32 udp_bytes;
	__u16 port;

	if (!parse(&datagram, (void *)(long)ctx->data, end) || (void *)(datagram.udp + 1) > end)
		return XDP_PASS;
	port = bpf_ntohs(datagram.udp->dest);
	if (!is_local(&datagram.destination))
		return XDP_PASS;
	if (control_port && port == control_port) {
		if (bpf_map_lookup_elem(&sources, &datagram.source) || stranger_may_pass())
			return XDP_PASS;
		return drop(DROP_CONTROL_FLOOD);
	}
	if ((__u16)(port - port_base) >= port_count)
		return XDP_PASS;

	// From here on it is ours: it is redirected, or dropped and counted.
	if (datagram.fragment)
		return drop(DROP_FRAGMENT);
	udp_bytes = bpf_ntohs(datagram.udp->len);
	if (udp_bytes < sizeof(struct udphdr) || udp_bytes != datagram.length_by_ip)
		return drop(DROP_BAD_UDP_LENGTH);
	if ((__u64)(end - (void *)datagram.udp) < udp_bytes)
		return drop(DROP_TRUNCATED);
	if (!bpf_map_lookup_elem(&sources, &datagram.source))
		return drop(DROP_UNKNOWN_SOURCE);
	if (check_frame((__u8 *)(datagram.udp + 1), udp_bytes - sizeof(struct udphdr), end, &reason))
		return drop(reason);

	if (bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_DROP) != XDP_REDIRECT)
		return drop(DROP_NO_SOCKET);
	return XDP_REDIRECT;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
