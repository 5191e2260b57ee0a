/*
 * Latticed: shared state between hosts, without a leader. A daemon on every host replicates counters, flags, registers and
 * sets; programs read them from shared memory, lock-free, and write without waiting for anybody.
 *
 *     latticed_client *client;
 *     latticed_counter *requests;
 *     int64_t total;
 *     if (latticed_connect("/dev/shm/latticed/host-a/daemon.sock", NULL, &client) != LATTICED_OK
 *         || latticed_counter_open(client, "requests/today", 14, &requests) != LATTICED_OK
 *         || latticed_counter_add(requests, 1, NULL) != LATTICED_OK         // enqueued: never waits
 *         || latticed_counter_get(requests, &total) != LATTICED_OK) {      // one load from shared memory
 *         fprintf(stderr, "%s\n", latticed_last_error_text());
 *     }
 *     latticed_counter_close(requests);
 *     latticed_close(client);
 *
 * Compile and link with `pkg-config --cflags --libs latticed` (or -llatticed).
 *
 * ERRORS. A function returns LATTICED_OK, which is 0, or what went wrong. latticed_last_error_text() says in words what happened
 * to the state and what to do; latticed_last_error() whether the call may be repeated. Both speak of the calling thread's last
 * failure. Unless its description says otherwise, a function that fails stores nothing. errno is not part of it, and may change.
 *
 * WRITES. Functions that write only enqueue. Those that end in _wait wait until this host sees the write, those that end in _with
 * until it has got as far as asked: to the disk, to other hosts. The plain ones store a ticket, to be waited for later, or not at
 * all: latticed_barrier() covers everything so far. Writes of one client to one key are applied in order.
 *
 * ARGUMENTS. Pointers must be valid for the call; results are stored where they point. Keys, values and elements are bytes with a
 * length, no terminator, and are copied; paths and names end with a zero byte. Timeouts are nanoseconds; 0 does not wait.
 *
 * OWNERSHIP. What a function ending in _open or _connect stores is the caller's, until it is given to the matching _close. A handle
 * holds its client's connection: they can be closed in any order.
 *
 * THREADS. Every function may be called by any thread at any time, also with the same client or handle; only a _close needs that
 * no other call is using what it closes. Reads share nothing that is written; writes of one client take turns, some 20 ns each,
 * and threads that must not wait so long for each other have a client each. No function starts a thread. Not to be called in a signal handler. After a fork, the
 * child must not use what the parent has opened, nor close it: the rings are shared memory; it connects anew.
 *
 * VISITORS are called by the thread that called the function, and must return: no longjmp, no exception.
 */


#ifndef LATTICED_H
#define LATTICED_H

/* Generated from the library's sources. Don't edit it. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * A timeout that never ends: 584 years.
 */
#define LATTICED_FOREVER UINT64_MAX

/**
 * Reads serve the last known state while the daemon is away; latticed_health_of() tells how old it is.
 */
#define LATTICED_READ_LAST_KNOWN 0

/**
 * Reads fail with LATTICED_EDAEMONSTALE or LATTICED_EDAEMONCLOSED instead. Each read costs some 25 ns more.
 */
#define LATTICED_READ_FRESH 1

/**
 * A key has at most so many bytes, and at least one.
 */
#define LATTICED_MAX_KEY_BYTES 128

/**
 * A register has at most so many bytes.
 */
#define LATTICED_MAX_REGISTER_BYTES 1024

/**
 * An element of a set has at most so many bytes.
 */
#define LATTICED_MAX_ELEMENT_BYTES 256

/**
 * What every function returns that can fail. The numbers stay as they are; more may be added.
 */
typedef enum latticed_code {
    /**
     * It is done.
     */
    LATTICED_OK = 0,
    /**
     * An argument is NULL that must not be, or has a value that means nothing. Nothing happened.
     */
    LATTICED_EINVAL = 1,
    /**
     * The caller's buffer is too small; nothing was copied, and the length that is needed was stored.
     */
    LATTICED_EBUFFER = 2,
    /**
     * No daemon answers at the socket: is latticed running, and may this user open the socket?
     */
    LATTICED_ECONNECT = 3,
    /**
     * The daemon refused to attach this client.
     */
    LATTICED_EATTACH = 4,
    /**
     * The daemon's reply can't be used: do daemon and library match?
     */
    LATTICED_EPROTOCOL = 5,
    /**
     * The segment can't be opened or is not valid.
     */
    LATTICED_EOPEN = 6,
    /**
     * A key has 1 to LATTICED_MAX_KEY_BYTES bytes.
     */
    LATTICED_EBADKEY = 7,
    /**
     * A register has at most LATTICED_MAX_REGISTER_BYTES bytes, an element LATTICED_MAX_ELEMENT_BYTES.
     */
    LATTICED_ETOOLARGE = 8,
    /**
     * The key exists on this host with another kind. Open it as what it is, or choose another key.
     */
    LATTICED_EKINDMISMATCH = 9,
    /**
     * The ring to the key's worker is full; nothing was enqueued. Wait for earlier writes, then try again.
     */
    LATTICED_ERINGFULL = 10,
    /**
     * The client was opened with latticed_open_read_only().
     */
    LATTICED_EREADONLY = 11,
    /**
     * The key's worker has been silent for longer than its timeout; nothing was enqueued.
     */
    LATTICED_EDAEMONSTALE = 12,
    /**
     * The daemon is gone; nothing was enqueued. Later calls attach to its successor by themselves.
     */
    LATTICED_EDAEMONCLOSED = 13,
    /**
     * The daemon refused the write; nothing was changed. latticed_last_error() has the reason.
     */
    LATTICED_EREFUSED = 14,
    /**
     * A barrier found refused writes; latticed_last_error() has their number and the first one's reason. The others are applied.
     */
    LATTICED_EWRITESREFUSED = 15,
    /**
     * The time is up; the write is still under way. Wait again.
     */
    LATTICED_ETIMEOUT = 16,
    /**
     * The daemon went away before it acknowledged: applied or not, nobody can say. Read before repeating.
     */
    LATTICED_EOUTCOMEUNKNOWN = 17,
    /**
     * No write can get as far as was asked at this daemon; nothing was enqueued.
     */
    LATTICED_EACKIMPOSSIBLE = 18,
    /**
     * The time is up, and the write has not got as far as was asked; it goes on by itself. What was reached is told.
     */
    LATTICED_ENOTREACHED = 19,
    /**
     * The daemon went away before it told that the write got as far as was asked. What it had told is told.
     */
    LATTICED_EACKUNKNOWN = 20,
    /**
     * The result of this write is no longer remembered: wait sooner.
     */
    LATTICED_EOUTCOMEFORGOTTEN = 21,
    /**
     * The value changes faster than it can be copied. Read again.
     */
    LATTICED_EBUSY = 22,
    /**
     * The segment contradicts itself at this key. Restart the daemon, and report it.
     */
    LATTICED_ECORRUPT = 23,
    /**
     * A system call failed; latticed_last_error() has its errno.
     */
    LATTICED_ESYSTEM = 24,
    /**
     * A fault of this library, which it has survived. Report the text.
     */
    LATTICED_EINTERNAL = 25,
    /**
     * Another failure; its text says which.
     */
    LATTICED_EOTHER = 26,
} latticed_code;

/**
 * What a watcher is told.
 */
typedef enum latticed_change_type {
    /**
     * Nothing happened in time.
     */
    LATTICED_CHANGE_NONE = 0,
    /**
     * A key was published; reading it gives this value or a later one.
     */
    LATTICED_CHANGE_KEY = 1,
    /**
     * The watcher was too slow: changes of some keys were not reported. Read again what you care about.
     */
    LATTICED_CHANGE_OVERRUN = 2,
    /**
     * The client is attached to another daemon now. Read again what you care about.
     */
    LATTICED_CHANGE_RESTARTED = 3,
} latticed_change_type;

/**
 * The kind of a key: part of its identity.
 */
typedef enum latticed_kind {
    /**
     * A kind that this version of the library does not know.
     */
    LATTICED_KIND_OTHER = 0,
    /**
     * A sum that every node may add to and subtract from.
     */
    LATTICED_KIND_COUNTER = 1,
    /**
     * A switch; concurrent enable and disable leave it on.
     */
    LATTICED_KIND_FLAG_ENABLE_WINS = 2,
    /**
     * A switch; concurrent enable and disable leave it off.
     */
    LATTICED_KIND_FLAG_DISABLE_WINS = 3,
    /**
     * The bytes of the last writer.
     */
    LATTICED_KIND_REGISTER = 4,
    /**
     * A set; concurrent insert and remove of one element leave it in.
     */
    LATTICED_KIND_SET = 5,
} latticed_kind;

/**
 * Why the daemon refused a write. Nothing was changed, here or anywhere.
 */
typedef enum latticed_refusal {
    /**
     * Nothing was refused.
     */
    LATTICED_REFUSAL_NONE = 0,
    /**
     * No room for another key, element or value: raise the daemon's limits.
     */
    LATTICED_REFUSAL_CAPACITY = 1,
    /**
     * The key exists with another kind.
     */
    LATTICED_REFUSAL_KIND_MISMATCH = 2,
    /**
     * The daemon's clock runs ahead of its peers': correct it.
     */
    LATTICED_REFUSAL_CLOCK_SKEW = 3,
    /**
     * A value or element over the limit.
     */
    LATTICED_REFUSAL_TOO_LARGE = 4,
    /**
     * An empty or over-long key.
     */
    LATTICED_REFUSAL_BAD_KEY = 5,
    /**
     * The handle was stale: try again.
     */
    LATTICED_REFUSAL_STALE_HANDLE = 6,
    /**
     * The daemon does not know this operation: it is older than this library.
     */
    LATTICED_REFUSAL_NOT_SUPPORTED = 7,
    /**
     * The daemon's log is full for the moment: try again.
     */
    LATTICED_REFUSAL_LOG_FULL = 8,
    /**
     * Another reason; the text says which.
     */
    LATTICED_REFUSAL_OTHER = 9,
} latticed_refusal;

/**
 * Whether the daemon lives.
 */
typedef enum latticed_daemon_state {
    /**
     * Every worker's heartbeat is younger than the timeout.
     */
    LATTICED_DAEMON_LIVE = 0,
    /**
     * A worker has been silent for longer; its process is there.
     */
    LATTICED_DAEMON_STALE = 1,
    /**
     * A worker has been silent for longer, and the process is gone or has hung up.
     */
    LATTICED_DAEMON_DEAD = 2,
    /**
     * The segment was closed; no successor is attached yet.
     */
    LATTICED_DAEMON_CLOSED = 3,
} latticed_daemon_state;

/**
 * A watcher: sees every change from its making on.
 */
typedef struct latticed_changes latticed_changes;

/**
 * The way to one daemon.
 */
typedef struct latticed_client latticed_client;

/**
 * A counter: a sum that every host may add to and subtract from.
 */
typedef struct latticed_counter latticed_counter;

/**
 * A flag: a switch.
 */
typedef struct latticed_flag latticed_flag;

/**
 * A register: the bytes of the last writer.
 */
typedef struct latticed_register latticed_register;

/**
 * A set of elements; a concurrent insert beats a remove.
 */
typedef struct latticed_set latticed_set;

/**
 * How far a write is to get before a call returns: one of the LATTICED_ACK_ constants, or a number of peers from 1 to 65535
 * (merged, and visible, on at least so many other hosts). Levels are no steps of one ladder; every level includes
 * LATTICED_ACK_LOCAL.
 */
typedef uint32_t latticed_ack;

/**
 * What visits the members of a set. The element is the library's, until the function returns.
 */
typedef void (*latticed_element_visitor)(void *context, const void *element, size_t element_len);

/**
 * A change.
 */
typedef struct latticed_change {
    /**
     * What happened. The rest is zero unless it is LATTICED_CHANGE_KEY.
     */
    enum latticed_change_type what;
    /**
     * The key's kind.
     */
    enum latticed_kind kind;
    /**
     * How often it has been published, this time included.
     */
    uint64_t version;
    /**
     * Bytes of the key.
     */
    size_t key_len;
    /**
     * The key. No zero byte ends it, unless it is shorter than the array.
     */
    uint8_t key[128];
} latticed_change;

/**
 * How to open a client. Set it to the defaults with latticed_options_init() first.
 */
typedef struct latticed_options {
    /**
     * LATTICED_READ_LAST_KNOWN (the default) or LATTICED_READ_FRESH.
     */
    uint32_t read_policy;
    /**
     * How long latticed_connect() waits for the daemon's reply, in nanoseconds; two seconds.
     */
    uint64_t connect_timeout_ns;
    /**
     * The shortest time between two attempts to attach to a daemon's successor, in nanoseconds; 20 ms.
     */
    uint64_t reattach_interval_ns;
} latticed_options;

/**
 * A receipt for an enqueued write. A plain value: copy it, keep it, drop it. Its words mean nothing to anybody else.
 */
typedef struct latticed_ticket {
    /**
     * Not for the caller.
     */
    uint64_t words[3];
} latticed_ticket;

/**
 * How far writes have got, as far as the daemon has told: of several, how far the one that is least far.
 */
typedef struct latticed_reached {
    /**
     * Applied, and visible to every reader of this host.
     */
    bool local;
    /**
     * In the memory-mapped log.
     */
    bool logged;
    /**
     * Synced to this host's disk.
     */
    bool durable;
    /**
     * On more than half of the members.
     */
    bool majority;
    /**
     * On every member.
     */
    bool all;
    /**
     * How many peers have merged it; more than 32 are counted as 32.
     */
    uint16_t peers;
    /**
     * How many peers are known to have it on their disks.
     */
    uint16_t durable_on;
    /**
     * Members of the cluster, this host one of them; 0 if the daemon has not said.
     */
    uint16_t members;
} latticed_reached;

/**
 * What latticed_keys() calls with each key. The key is the library's, until the function returns.
 */
typedef void (*latticed_key_visitor)(void *context, enum latticed_kind kind, const void *key, size_t key_len);

/**
 * What is known of a failure beside its text.
 */
typedef struct latticed_error {
    /**
     * What the function returned.
     */
    enum latticed_code code;
    /**
     * Why the daemon refused, with LATTICED_EREFUSED and LATTICED_EWRITESREFUSED.
     */
    enum latticed_refusal refusal;
    /**
     * How many writes were refused (LATTICED_EWRITESREFUSED) or are of unknown outcome (LATTICED_EOUTCOMEUNKNOWN); else 0.
     */
    uint64_t writes;
    /**
     * The errno of the system call that failed, or 0.
     */
    int system_error;
    /**
     * The write of this call certainly changed nothing: it may be repeated without being counted twice.
     */
    bool nothing_happened;
    /**
     * The same call can succeed a moment later without anybody changing anything.
     */
    bool is_temporary;
} latticed_error;

/**
 * What latticed_health_of() found.
 */
typedef struct latticed_health {
    /**
     * Whether the daemon lives.
     */
    enum latticed_daemon_state state;
    /**
     * True if writes can be enqueued.
     */
    bool is_writable;
    /**
     * The daemon's node number.
     */
    uint16_t node;
    /**
     * The daemon's process.
     */
    uint32_t pid;
    /**
     * Age of the most silent worker's heartbeat in nanoseconds; UINT64_MAX if one never beat.
     */
    uint64_t heartbeat_age_ns;
    /**
     * The age at which the daemon wants to be called stale, in nanoseconds.
     */
    uint64_t heartbeat_timeout_ns;
    /**
     * Differs between any two starts of any daemon.
     */
    uint64_t incarnation;
    /**
     * How often this client has attached: 1 until the daemon's first restart.
     */
    uint64_t attachments;
    /**
     * The daemon's node name; ends with a zero byte.
     */
    char node_name[64];
} latticed_health;

/**
 * Applied, and visible to every reader of this host.
 */
#define LATTICED_ACK_LOCAL 0

/**
 * In the memory-mapped log: survives the daemon.
 */
#define LATTICED_ACK_LOGGED 65536

/**
 * Synced to this host's disk.
 */
#define LATTICED_ACK_DURABLE 65537

/**
 * On more than half of the members, this host being one.
 */
#define LATTICED_ACK_MAJORITY 65538

/**
 * On every member.
 */
#define LATTICED_ACK_ALL 65539

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The level that a text names: "local", "logged", "durable", "peers=2", "majority" or "all".
 *
 * Errors: LATTICED_EINVAL.
 */
enum latticed_code latticed_ack_parse(const char *name, latticed_ack *ack);

/**
 * A counter's sum, without a handle: a lookup and a load. 0 if nobody has written it. From the first read by key on, the client
 * keeps the segment that it reads mapped until it is closed, also after the daemon's restart.
 *
 * Errors: LATTICED_EINVAL, LATTICED_EBADKEY, LATTICED_EKINDMISMATCH; with LATTICED_READ_FRESH also LATTICED_EDAEMONSTALE and
 * LATTICED_EDAEMONCLOSED.
 */
enum latticed_code latticed_read_counter(const struct latticed_client *client,
                                         const void *key,
                                         size_t key_len,
                                         int64_t *value);

/**
 * True if an enable-wins flag is on, without a handle.
 *
 * Errors: as latticed_read_counter().
 */
enum latticed_code latticed_read_flag(const struct latticed_client *client,
                                      const void *key,
                                      size_t key_len,
                                      bool *is_on);

/**
 * True if a disable-wins flag is on, without a handle.
 *
 * Errors: as latticed_read_counter().
 */
enum latticed_code latticed_read_flag_disable_wins(const struct latticed_client *client,
                                                   const void *key,
                                                   size_t key_len,
                                                   bool *is_on);

/**
 * Copies a register's value, without a handle; see latticed_register_get().
 *
 * Errors: LATTICED_EBUFFER, LATTICED_EBUSY, LATTICED_ECORRUPT, and as latticed_read_counter().
 */
enum latticed_code latticed_read_register(const struct latticed_client *client,
                                          const void *key,
                                          size_t key_len,
                                          void *buffer,
                                          size_t capacity,
                                          size_t *len,
                                          bool *is_set);

/**
 * True if the element is a member of the set, without a handle.
 *
 * Errors: LATTICED_EBUSY, LATTICED_ECORRUPT, and as latticed_read_counter().
 */
enum latticed_code latticed_read_set_contains(const struct latticed_client *client,
                                              const void *key,
                                              size_t key_len,
                                              const void *element,
                                              size_t element_len,
                                              bool *is_member);

/**
 * How many members the set has, without a handle.
 *
 * Errors: as latticed_read_counter().
 */
enum latticed_code latticed_read_set_len(const struct latticed_client *client,
                                         const void *key,
                                         size_t key_len,
                                         uint64_t *len);

/**
 * Visits the set's members, without a handle; see latticed_set_for_each_member().
 *
 * Errors: LATTICED_EBUSY, LATTICED_ECORRUPT, and as latticed_read_counter().
 */
enum latticed_code latticed_read_set_for_each_member(const struct latticed_client *client,
                                                     const void *key,
                                                     size_t key_len,
                                                     latticed_element_visitor visit,
                                                     void *context);

/**
 * Follows the changes of all keys, from now on. To miss nothing: make the watcher first, then read. It is the caller's, to be
 * given to latticed_changes_close(); NULL is stored if the call fails.
 *
 * Errors: LATTICED_EINVAL.
 */
enum latticed_code latticed_changes_open(const struct latticed_client *client,
                                         struct latticed_changes **changes);

/**
 * Ends a watcher. NULL is fine. No other call may be using it, and none may come after.
 */
void latticed_changes_close(struct latticed_changes *changes);

/**
 * The next change, waiting for it at most `timeout_ns`; 0 does not wait. Changes of one key come in order; a key that changed
 * twice before it was looked at may be reported twice. A second thread waits until the first one's call is over.
 *
 * Errors: LATTICED_EINVAL, LATTICED_ECORRUPT.
 */
enum latticed_code latticed_changes_next(const struct latticed_changes *changes,
                                         uint64_t timeout_ns,
                                         struct latticed_change *change);

/**
 * The version of this library, such as "0.1.0". A constant: valid for ever.
 */
const char *latticed_version(void);

/**
 * Sets options to the defaults. Never fails; nothing is done if `options` is NULL.
 */
void latticed_options_init(struct latticed_options *options);

/**
 * Attaches to the daemon behind a Unix socket, to read and write. Waits for its reply. `options` may be NULL. The client is the
 * caller's, to be given to latticed_close(); NULL is stored if the call fails.
 *
 * Errors: LATTICED_EINVAL, LATTICED_ECONNECT, LATTICED_EATTACH, LATTICED_EPROTOCOL, LATTICED_EOPEN, LATTICED_ESYSTEM.
 */
enum latticed_code latticed_connect(const char *socket,
                                    const struct latticed_options *options,
                                    struct latticed_client **client);

/**
 * Maps a segment without speaking to its daemon: every write is LATTICED_EREADONLY. Needs read permission on the file only;
 * works while the daemon is down, on what it last published. Otherwise as latticed_connect().
 *
 * Errors: LATTICED_EINVAL, LATTICED_EOPEN.
 */
enum latticed_code latticed_open_read_only(const char *segment,
                                           const struct latticed_options *options,
                                           struct latticed_client **client);

/**
 * Ends a client. Handles that were opened with it stay good, and hold the connection until the last of them is closed. NULL is
 * fine. No other call may be using the client, and none may come after.
 */
void latticed_close(struct latticed_client *client);

/**
 * Ends the connection now, for the client and all of its handles, and for good: writes fail with LATTICED_EDAEMONCLOSED, those
 * under way end as LATTICED_EOUTCOMEUNKNOWN, reads serve the last known state. For those who can't say when the last handle is
 * closed; latticed_close() is still due.
 *
 * Errors: LATTICED_EINVAL.
 */
enum latticed_code latticed_disconnect(const struct latticed_client *client);

/**
 * Asks what became of a write: `applied` is true if it is applied and visible to every reader of this host, false if it is still
 * under way. Does not wait.
 *
 * Errors: LATTICED_EINVAL, LATTICED_EREFUSED, LATTICED_EOUTCOMEUNKNOWN, LATTICED_EOUTCOMEFORGOTTEN.
 */
enum latticed_code latticed_poll(const struct latticed_client *client,
                                 const struct latticed_ticket *ticket,
                                 bool *applied);

/**
 * Waits until a write is applied and visible to every reader of this host.
 *
 * Errors: LATTICED_EINVAL, LATTICED_EREFUSED, LATTICED_ETIMEOUT (wait again), LATTICED_EOUTCOMEUNKNOWN,
 * LATTICED_EOUTCOMEFORGOTTEN.
 */
enum latticed_code latticed_wait(const struct latticed_client *client,
                                 const struct latticed_ticket *ticket,
                                 uint64_t timeout_ns);

/**
 * Waits until a write has got as far as `ack` says. What was reached is stored in `reached` (which may be NULL), also with
 * LATTICED_ENOTREACHED and LATTICED_EACKUNKNOWN.
 *
 * Errors: LATTICED_EINVAL, LATTICED_EACKIMPOSSIBLE, LATTICED_ENOTREACHED (wait again), LATTICED_EACKUNKNOWN, LATTICED_EREFUSED,
 * LATTICED_EOUTCOMEFORGOTTEN.
 */
enum latticed_code latticed_wait_with(const struct latticed_client *client,
                                      const struct latticed_ticket *ticket,
                                      latticed_ack ack,
                                      uint64_t timeout_ns,
                                      struct latticed_reached *reached);

/**
 * Waits until every write that was enqueued through this client and its handles so far is processed: then all that were not
 * refused are visible to every reader of this host.
 *
 * Errors: LATTICED_EINVAL, LATTICED_ETIMEOUT, LATTICED_EWRITESREFUSED and LATTICED_EOUTCOMEUNKNOWN (each reported once).
 */
enum latticed_code latticed_barrier(const struct latticed_client *client,
                                    uint64_t timeout_ns);

/**
 * latticed_barrier() for any level. What was reached, by the write that is least far, is stored in `reached` (which may be NULL).
 *
 * Errors: LATTICED_EINVAL, LATTICED_EACKIMPOSSIBLE, LATTICED_ENOTREACHED, LATTICED_EACKUNKNOWN, LATTICED_EWRITESREFUSED,
 * LATTICED_EREADONLY.
 */
enum latticed_code latticed_barrier_with(const struct latticed_client *client,
                                         latticed_ack ack,
                                         uint64_t timeout_ns,
                                         struct latticed_reached *reached);

/**
 * Waits until the client is attached to a live daemon again. Other calls attach by themselves in passing; this is for those
 * who have nothing else to do.
 *
 * Errors: LATTICED_EINVAL, LATTICED_EDAEMONCLOSED if none came back in time.
 */
enum latticed_code latticed_reconnect(const struct latticed_client *client,
                                      uint64_t timeout_ns);

/**
 * Calls `visit` with each published key that begins with `prefix`, in byte order, after all were found. Reads the whole index: for
 * tools, not for hot paths. `prefix` may be NULL if `prefix_len` is 0.
 *
 * Errors: LATTICED_EINVAL.
 */
enum latticed_code latticed_keys(const struct latticed_client *client,
                                 const void *prefix,
                                 size_t prefix_len,
                                 latticed_key_visitor visit,
                                 void *context);

/**
 * Opens a counter, which need not exist yet: what nobody has written is 0. It is the caller's, to be given to
 * latticed_counter_close(); NULL is stored if the call fails.
 *
 * Errors: LATTICED_EINVAL, LATTICED_EBADKEY, LATTICED_EKINDMISMATCH.
 */
enum latticed_code latticed_counter_open(const struct latticed_client *client,
                                         const void *key,
                                         size_t key_len,
                                         struct latticed_counter **counter);

/**
 * Ends a handle. NULL is fine. No other call may be using it, and none may come after.
 */
void latticed_counter_close(struct latticed_counter *counter);

/**
 * The sum of all additions that this host has heard of: one load from shared memory.
 *
 * Errors: LATTICED_EINVAL, LATTICED_EKINDMISMATCH if the key came into being with another kind; with LATTICED_READ_FRESH also
 * LATTICED_EDAEMONSTALE and LATTICED_EDAEMONCLOSED.
 */
enum latticed_code latticed_counter_get(const struct latticed_counter *counter,
                                        int64_t *value);

/**
 * Adds; a negative amount subtracts. Enqueues only: never waits. `ticket` may be NULL.
 *
 * Errors, with nothing enqueued: LATTICED_EINVAL, LATTICED_ERINGFULL, LATTICED_EREADONLY, LATTICED_EDAEMONSTALE,
 * LATTICED_EDAEMONCLOSED, LATTICED_EKINDMISMATCH.
 */
enum latticed_code latticed_counter_add(const struct latticed_counter *counter,
                                        int64_t amount,
                                        struct latticed_ticket *ticket);

/**
 * Adds, and waits until the sum on this host contains it.
 *
 * Errors: those of latticed_counter_add() and of latticed_wait().
 */
enum latticed_code latticed_counter_add_wait(const struct latticed_counter *counter,
                                             int64_t amount,
                                             uint64_t timeout_ns);

/**
 * Adds, and waits until that has got as far as `ack` says. What was reached is stored in `reached` (which may be NULL), also with
 * LATTICED_ENOTREACHED and LATTICED_EACKUNKNOWN.
 *
 * Errors: those of latticed_counter_add() and of latticed_wait_with().
 */
enum latticed_code latticed_counter_add_with(const struct latticed_counter *counter,
                                             int64_t amount,
                                             latticed_ack ack,
                                             uint64_t timeout_ns,
                                             struct latticed_reached *reached);

/**
 * What is known of the last call of this thread that failed. A call that succeeds leaves it as it is; without one that
 * failed the code is LATTICED_OK. Never fails.
 */
void latticed_last_error(struct latticed_error *error);

/**
 * The same in words: what happened to the state, and what to do. Never NULL; empty if no call of this thread has failed. It
 * is the library's, and valid until the next call of this thread that fails.
 */
const char *latticed_last_error_text(void);

/**
 * A code's name, such as "LATTICED_EBUSY"; "unknown" for a number that is none. A constant: valid for ever.
 */
const char *latticed_code_name(int code);

/**
 * Opens a flag for which a concurrent enable beats a disable. It need not exist yet: what nobody has written is off. It is the
 * caller's, to be given to latticed_flag_close(); NULL is stored if the call fails.
 *
 * Errors: LATTICED_EINVAL, LATTICED_EBADKEY, LATTICED_EKINDMISMATCH.
 */
enum latticed_code latticed_flag_open(const struct latticed_client *client,
                                      const void *key,
                                      size_t key_len,
                                      struct latticed_flag **flag);

/**
 * As latticed_flag_open(), for a flag for which a concurrent disable beats an enable.
 *
 * Errors: as latticed_flag_open().
 */
enum latticed_code latticed_flag_open_disable_wins(const struct latticed_client *client,
                                                   const void *key,
                                                   size_t key_len,
                                                   struct latticed_flag **flag);

/**
 * Ends a handle. NULL is fine. No other call may be using it, and none may come after.
 */
void latticed_flag_close(struct latticed_flag *flag);

/**
 * True if it is on: one load from shared memory.
 *
 * Errors: as latticed_counter_get().
 */
enum latticed_code latticed_flag_get(const struct latticed_flag *flag, bool *is_on);

/**
 * Turns it on. Enqueues only: never waits. `ticket` may be NULL.
 *
 * Errors: as latticed_counter_add().
 */
enum latticed_code latticed_flag_enable(const struct latticed_flag *flag, struct latticed_ticket *ticket);

/**
 * Turns it on, and waits until this host sees it.
 *
 * Errors: those of latticed_flag_enable() and of latticed_wait().
 */
enum latticed_code latticed_flag_enable_wait(const struct latticed_flag *flag, uint64_t timeout_ns);

/**
 * Turns it on, and waits until that has got as far as `ack` says; see latticed_wait_with().
 *
 * Errors: those of latticed_flag_enable() and of latticed_wait_with().
 */
enum latticed_code latticed_flag_enable_with(const struct latticed_flag *flag,
                                             latticed_ack ack,
                                             uint64_t timeout_ns,
                                             struct latticed_reached *reached);

/**
 * Turns it off. Enqueues only: never waits. `ticket` may be NULL.
 *
 * Errors: as latticed_counter_add().
 */
enum latticed_code latticed_flag_disable(const struct latticed_flag *flag, struct latticed_ticket *ticket);

/**
 * Turns it off, and waits until this host sees it.
 *
 * Errors: those of latticed_flag_disable() and of latticed_wait().
 */
enum latticed_code latticed_flag_disable_wait(const struct latticed_flag *flag, uint64_t timeout_ns);

/**
 * Turns it off, and waits until that has got as far as `ack` says; see latticed_wait_with().
 *
 * Errors: those of latticed_flag_disable() and of latticed_wait_with().
 */
enum latticed_code latticed_flag_disable_with(const struct latticed_flag *flag,
                                              latticed_ack ack,
                                              uint64_t timeout_ns,
                                              struct latticed_reached *reached);

/**
 * How the daemon is. Also looks for a successor if it is gone, so a client that only reads should call this every now and then.
 * Costs a system call or two; never waits.
 *
 * Errors: LATTICED_EINVAL.
 */
enum latticed_code latticed_health_of(const struct latticed_client *client,
                                      struct latticed_health *health);

/**
 * Opens a register, which need not exist yet. It is the caller's, to be given to latticed_register_close(); NULL is stored if the
 * call fails.
 *
 * Errors: LATTICED_EINVAL, LATTICED_EBADKEY, LATTICED_EKINDMISMATCH.
 */
enum latticed_code latticed_register_open(const struct latticed_client *client,
                                          const void *key,
                                          size_t key_len,
                                          struct latticed_register **reg);

/**
 * Ends a handle. NULL is fine. No other call may be using it, and none may come after.
 */
void latticed_register_close(struct latticed_register *reg);

/**
 * Copies the value into `buffer` and stores its length in `len`. `is_set` (which may be NULL) is false, and the length 0, if it was
 * never set. A buffer of LATTICED_MAX_REGISTER_BYTES is always large enough; `buffer` may be NULL if `capacity` is 0, which asks
 * for the length alone.
 *
 * Errors: LATTICED_EBUFFER if it is too small (`len` is what is needed), LATTICED_EBUSY, LATTICED_ECORRUPT, and as
 * latticed_counter_get().
 */
enum latticed_code latticed_register_get(const struct latticed_register *reg,
                                         void *buffer,
                                         size_t capacity,
                                         size_t *len,
                                         bool *is_set);

/**
 * Replaces the bytes, by at most LATTICED_MAX_REGISTER_BYTES. Enqueues only: never waits. `ticket` may be NULL.
 *
 * Errors: LATTICED_ETOOLARGE, and as latticed_counter_add().
 */
enum latticed_code latticed_register_set(const struct latticed_register *reg,
                                         const void *value,
                                         size_t value_len,
                                         struct latticed_ticket *ticket);

/**
 * Replaces the bytes, and waits until this host sees them (or those of a later writer).
 *
 * Errors: those of latticed_register_set() and of latticed_wait().
 */
enum latticed_code latticed_register_set_wait(const struct latticed_register *reg,
                                              const void *value,
                                              size_t value_len,
                                              uint64_t timeout_ns);

/**
 * Replaces the bytes, and waits until that has got as far as `ack` says; see latticed_wait_with().
 *
 * Errors: those of latticed_register_set() and of latticed_wait_with().
 */
enum latticed_code latticed_register_set_with(const struct latticed_register *reg,
                                              const void *value,
                                              size_t value_len,
                                              latticed_ack ack,
                                              uint64_t timeout_ns,
                                              struct latticed_reached *reached);

/**
 * Opens a set, which need not exist yet: what nobody has written is empty. It is the caller's, to be given to
 * latticed_set_close(); NULL is stored if the call fails.
 *
 * Errors: LATTICED_EINVAL, LATTICED_EBADKEY, LATTICED_EKINDMISMATCH.
 */
enum latticed_code latticed_set_open(const struct latticed_client *client,
                                     const void *key,
                                     size_t key_len,
                                     struct latticed_set **set);

/**
 * Ends a handle. NULL is fine. No other call may be using it, and none may come after.
 */
void latticed_set_close(struct latticed_set *set);

/**
 * True if the element is a member. Does not depend on the set's size.
 *
 * Errors: LATTICED_EBUSY, LATTICED_ECORRUPT, and as latticed_counter_get().
 */
enum latticed_code latticed_set_contains(const struct latticed_set *set,
                                         const void *element,
                                         size_t element_len,
                                         bool *is_member);

/**
 * How many members it has.
 *
 * Errors: as latticed_counter_get().
 */
enum latticed_code latticed_set_len(const struct latticed_set *set, uint64_t *len);

/**
 * Calls `visit` with each member, in byte order, after all were copied: if the call fails, it was not called. Not a snapshot: a
 * member that is inserted or removed meanwhile may or may not be visited, all others are, once.
 *
 * Errors: as latticed_set_contains().
 */
enum latticed_code latticed_set_members(const struct latticed_set *set,
                                        latticed_element_visitor visit,
                                        void *context);

/**
 * As latticed_set_members(), in no order, and with each member as it is read: needs memory for a part of the set only. If it
 * fails, some members may have been visited.
 *
 * Errors: as latticed_set_contains().
 */
enum latticed_code latticed_set_for_each_member(const struct latticed_set *set,
                                                latticed_element_visitor visit,
                                                void *context);

/**
 * Inserts an element of at most LATTICED_MAX_ELEMENT_BYTES. Enqueues only: never waits. `ticket` may be NULL.
 *
 * Errors: LATTICED_ETOOLARGE, and as latticed_counter_add().
 */
enum latticed_code latticed_set_insert(const struct latticed_set *set,
                                       const void *element,
                                       size_t element_len,
                                       struct latticed_ticket *ticket);

/**
 * Inserts an element, and waits until this host sees it.
 *
 * Errors: those of latticed_set_insert() and of latticed_wait().
 */
enum latticed_code latticed_set_insert_wait(const struct latticed_set *set,
                                            const void *element,
                                            size_t element_len,
                                            uint64_t timeout_ns);

/**
 * Inserts an element, and waits until that has got as far as `ack` says; see latticed_wait_with().
 *
 * Errors: those of latticed_set_insert() and of latticed_wait_with().
 */
enum latticed_code latticed_set_insert_with(const struct latticed_set *set,
                                            const void *element,
                                            size_t element_len,
                                            latticed_ack ack,
                                            uint64_t timeout_ns,
                                            struct latticed_reached *reached);

/**
 * Removes an element; an insertion elsewhere that this host has not heard of yet stays. Enqueues only: never waits. `ticket` may
 * be NULL.
 *
 * Errors: as latticed_set_insert().
 */
enum latticed_code latticed_set_remove(const struct latticed_set *set,
                                       const void *element,
                                       size_t element_len,
                                       struct latticed_ticket *ticket);

/**
 * Removes an element, and waits until this host sees it.
 *
 * Errors: those of latticed_set_remove() and of latticed_wait().
 */
enum latticed_code latticed_set_remove_wait(const struct latticed_set *set,
                                            const void *element,
                                            size_t element_len,
                                            uint64_t timeout_ns);

/**
 * Removes an element, and waits until that has got as far as `ack` says; see latticed_wait_with().
 *
 * Errors: those of latticed_set_remove() and of latticed_wait_with().
 */
enum latticed_code latticed_set_remove_with(const struct latticed_set *set,
                                            const void *element,
                                            size_t element_len,
                                            latticed_ack ack,
                                            uint64_t timeout_ns,
                                            struct latticed_reached *reached);

/**
 * Removes every element that this host sees when its daemon applies it. Enqueues only: never waits. `ticket` may be NULL.
 *
 * Errors: as latticed_counter_add().
 */
enum latticed_code latticed_set_clear(const struct latticed_set *set,
                                      struct latticed_ticket *ticket);

/**
 * Removes every element that this host sees, and waits until that has got as far as `ack` says; see latticed_wait_with().
 *
 * Errors: those of latticed_set_clear() and of latticed_wait_with().
 */
enum latticed_code latticed_set_clear_with(const struct latticed_set *set,
                                           latticed_ack ack,
                                           uint64_t timeout_ns,
                                           struct latticed_reached *reached);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* LATTICED_H */
