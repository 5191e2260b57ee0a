/* Every kind is written and read back, by handle and by key, waited for and not. Arguments: the socket, and the segment. */
#include "check.h"

static latticed_client *client;

static void counters(void)
{
    latticed_counter *counter;
    latticed_ticket ticket;
    latticed_reached reached;
    int64_t value = -1;
    bool applied = false;

    OK(latticed_counter_open(client, "hits", 4, &counter));
    OK(latticed_counter_get(counter, &value));
    CHECK(value == 0);
    OK(latticed_read_counter(client, "hits", 4, &value));
    CHECK(value == 0);

    OK(latticed_counter_add(counter, 5, &ticket));
    OK(latticed_wait(client, &ticket, PATIENCE_NS));
    OK(latticed_poll(client, &ticket, &applied));
    CHECK(applied);
    OK(latticed_counter_get(counter, &value));
    CHECK(value == 5);
    OK(latticed_counter_add_wait(counter, -7, PATIENCE_NS));
    OK(latticed_counter_add(counter, INT64_C(1) << 40, NULL));
    OK(latticed_barrier(client, PATIENCE_NS));
    OK(latticed_read_counter(client, "hits", 4, &value));
    CHECK(value == (INT64_C(1) << 40) - 2);

    memset(&reached, 0xff, sizeof reached);
    OK(latticed_counter_add_with(counter, 2, LATTICED_ACK_LOGGED, PATIENCE_NS, &reached));
    CHECK(reached.local && reached.logged && reached.members == 1 && reached.peers == 0);
    OK(latticed_counter_get(counter, &value));
    CHECK(value == INT64_C(1) << 40);
    latticed_counter_close(counter);
}

static void flags(void)
{
    latticed_flag *flag, *safe;
    latticed_reached reached;
    bool is_on = true;

    OK(latticed_flag_open(client, "on", 2, &flag));
    OK(latticed_flag_get(flag, &is_on));
    CHECK(!is_on);
    OK(latticed_flag_enable_wait(flag, PATIENCE_NS));
    OK(latticed_flag_get(flag, &is_on));
    CHECK(is_on);
    OK(latticed_flag_disable_wait(flag, PATIENCE_NS));
    OK(latticed_read_flag(client, "on", 2, &is_on));
    CHECK(!is_on);
    OK(latticed_flag_enable_with(flag, LATTICED_ACK_DURABLE, PATIENCE_NS, &reached));
    CHECK(reached.durable);
    OK(latticed_flag_disable_with(flag, LATTICED_ACK_LOCAL, PATIENCE_NS, NULL));
    OK(latticed_flag_enable(flag, NULL));
    OK(latticed_barrier_with(client, LATTICED_ACK_DURABLE, PATIENCE_NS, &reached));
    CHECK(reached.durable);
    OK(latticed_read_flag(client, "on", 2, &is_on));
    CHECK(is_on);
    OK(latticed_flag_disable(flag, NULL));
    latticed_flag_close(flag);

    OK(latticed_flag_open_disable_wins(client, "safe", 4, &safe));
    OK(latticed_flag_enable_wait(safe, PATIENCE_NS));
    OK(latticed_read_flag_disable_wins(client, "safe", 4, &is_on));
    CHECK(is_on);
    latticed_flag_close(safe);
}

static void registers(void)
{
    latticed_register *motd;
    latticed_ticket ticket;
    unsigned char longest[LATTICED_MAX_REGISTER_BYTES], buffer[LATTICED_MAX_REGISTER_BYTES];
    size_t len = 99;
    bool is_set = true;

    OK(latticed_register_open(client, "motd", 4, &motd));
    OK(latticed_register_get(motd, buffer, sizeof buffer, &len, &is_set));
    CHECK(len == 0 && !is_set);
    /* Set, and empty: another thing than never set. */
    OK(latticed_register_set_wait(motd, NULL, 0, PATIENCE_NS));
    OK(latticed_register_get(motd, NULL, 0, &len, &is_set));
    CHECK(len == 0 && is_set);

    OK(latticed_register_set(motd, "hello", 5, &ticket));
    OK(latticed_wait_with(client, &ticket, LATTICED_ACK_LOGGED, PATIENCE_NS, NULL));
    memset(buffer, 'x', sizeof buffer);
    OK(latticed_register_get(motd, buffer, 5, &len, NULL));
    CHECK(len == 5 && memcmp(buffer, "hellox", 6) == 0);
    memset(buffer, 'x', sizeof buffer);
    RETURNS(LATTICED_EBUFFER, latticed_register_get(motd, buffer, 4, &len, NULL));
    CHECK(len == 5 && buffer[0] == 'x');
    RETURNS(LATTICED_EBUFFER, latticed_register_get(motd, NULL, 0, &len, NULL));
    CHECK(len == 5);

    for (size_t i = 0; i < sizeof longest; i++)
        longest[i] = (unsigned char)i;
    OK(latticed_register_set_with(motd, longest, sizeof longest, LATTICED_ACK_LOCAL, PATIENCE_NS, NULL));
    OK(latticed_read_register(client, "motd", 4, buffer, sizeof buffer, &len, &is_set));
    CHECK(is_set && len == sizeof longest && memcmp(buffer, longest, len) == 0);
    OK(latticed_read_register(client, "never", 5, buffer, sizeof buffer, &len, &is_set));
    CHECK(!is_set && len == 0);
    latticed_register_close(motd);
}

struct members {
    size_t count;
    uint64_t bytes;
    bool ascend;
    unsigned char last[LATTICED_MAX_ELEMENT_BYTES];
    size_t last_len;
};

static void count_member(void *context, const void *element, size_t len)
{
    struct members *seen = context;
    size_t shorter = len < seen->last_len ? len : seen->last_len;
    int order = memcmp(seen->last, element, shorter);
    if (seen->count > 0 && (order > 0 || (order == 0 && seen->last_len >= len)))
        seen->ascend = false;
    seen->count++;
    seen->bytes += len;
    memcpy(seen->last, element, len);
    seen->last_len = len;
}

static void sets(void)
{
    latticed_set *live;
    latticed_ticket ticket;
    struct members seen = { 0, 0, true, { 0 }, 0 }, by_key = seen, unordered = seen;
    char element[LATTICED_MAX_ELEMENT_BYTES] = { 0 };
    uint64_t len = 99, bytes = 0;
    bool is_member = true;

    OK(latticed_set_open(client, "live", 4, &live));
    OK(latticed_set_len(live, &len));
    CHECK(len == 0);
    OK(latticed_set_insert_wait(live, "a", 1, PATIENCE_NS));
    OK(latticed_set_contains(live, "a", 1, &is_member));
    CHECK(is_member);
    OK(latticed_set_remove_wait(live, "a", 1, PATIENCE_NS));
    OK(latticed_read_set_contains(client, "live", 4, "a", 1, &is_member));
    CHECK(!is_member);
    OK(latticed_set_insert_with(live, "a", 1, LATTICED_ACK_LOGGED, PATIENCE_NS, NULL));
    OK(latticed_set_remove_with(live, "a", 1, LATTICED_ACK_LOCAL, PATIENCE_NS, NULL));
    /* The empty element is an element. */
    OK(latticed_set_insert(live, NULL, 0, &ticket));
    OK(latticed_wait(client, &ticket, PATIENCE_NS));
    OK(latticed_set_contains(live, NULL, 0, &is_member));
    CHECK(is_member);
    OK(latticed_set_remove(live, NULL, 0, NULL));

    for (int i = 0; i < 200; i++) {
        size_t element_len = (size_t)snprintf(element, sizeof element, "element %d", i);
        OK(latticed_set_insert(live, element, element_len, NULL));
        bytes += element_len;
    }
    memset(element, 'z', sizeof element);
    OK(latticed_set_insert(live, element, sizeof element, NULL));
    bytes += sizeof element;
    OK(latticed_barrier(client, PATIENCE_NS));
    OK(latticed_read_set_len(client, "live", 4, &len));
    CHECK(len == 201);
    OK(latticed_set_members(live, count_member, &seen));
    CHECK(seen.count == 201 && seen.bytes == bytes && seen.ascend);
    OK(latticed_set_for_each_member(live, count_member, &unordered));
    OK(latticed_read_set_for_each_member(client, "live", 4, count_member, &by_key));
    CHECK(unordered.count == 201 && unordered.bytes == bytes);
    CHECK(by_key.count == 201 && by_key.bytes == bytes);

    OK(latticed_set_clear_with(live, LATTICED_ACK_LOCAL, PATIENCE_NS, NULL));
    OK(latticed_set_len(live, &len));
    CHECK(len == 0);
    OK(latticed_set_clear(live, NULL));
    latticed_set_close(live);
}

struct keys {
    size_t count;
    latticed_kind kinds[8];
    char text[64];
};

static void note_key(void *context, latticed_kind kind, const void *key, size_t key_len)
{
    struct keys *seen = context;
    CHECK(seen->count < 8 && strlen(seen->text) + key_len + 2 < sizeof seen->text);
    seen->kinds[seen->count++] = kind;
    strncat(seen->text, key, key_len);
    strcat(seen->text, " ");
}

static void keys(void)
{
    struct keys all = { 0, { LATTICED_KIND_OTHER }, "" }, some = all;
    OK(latticed_keys(client, NULL, 0, note_key, &all));
    CHECK(all.count == 5 && strcmp(all.text, "hits live motd on safe ") == 0);
    CHECK(all.kinds[0] == LATTICED_KIND_COUNTER && all.kinds[1] == LATTICED_KIND_SET);
    CHECK(all.kinds[2] == LATTICED_KIND_REGISTER && all.kinds[3] == LATTICED_KIND_FLAG_ENABLE_WINS);
    CHECK(all.kinds[4] == LATTICED_KIND_FLAG_DISABLE_WINS);
    OK(latticed_keys(client, "m", 1, note_key, &some));
    CHECK(strcmp(some.text, "motd ") == 0);
}

static void changes(void)
{
    latticed_changes *changes;
    latticed_change change;
    latticed_counter *counter;
    int64_t value;

    OK(latticed_changes_open(client, &changes));
    OK(latticed_changes_next(changes, 0, &change));
    CHECK(change.what == LATTICED_CHANGE_NONE && change.key_len == 0);
    OK(latticed_counter_open(client, "watched", 7, &counter));
    OK(latticed_counter_add_wait(counter, 3, PATIENCE_NS));
    OK(latticed_changes_next(changes, PATIENCE_NS, &change));
    CHECK(change.what == LATTICED_CHANGE_KEY && change.kind == LATTICED_KIND_COUNTER && change.version > 0);
    CHECK(change.key_len == 7 && memcmp(change.key, "watched", 7) == 0);
    OK(latticed_counter_get(counter, &value));
    CHECK(value == 3);
    latticed_counter_close(counter);
    latticed_changes_close(changes);
}

static void read_only(const char *segment)
{
    latticed_client *reader;
    latticed_counter *counter;
    int64_t value;

    OK(latticed_open_read_only(segment, NULL, &reader));
    OK(latticed_counter_open(reader, "watched", 7, &counter));
    /* In any order: a handle goes on without its client. */
    latticed_close(reader);
    OK(latticed_counter_get(counter, &value));
    CHECK(value == 3);
    RETURNS(LATTICED_EREADONLY, latticed_counter_add(counter, 1, NULL));
    latticed_counter_close(counter);
}

int main(int argc, char **argv)
{
    latticed_health health;

    CHECK(argc == 3);
    OK(latticed_connect(argv[1], NULL, &client));
    OK(latticed_health_of(client, &health));
    CHECK(health.state == LATTICED_DAEMON_LIVE && health.is_writable && health.node == 1);
    CHECK(strcmp(health.node_name, "host-1") == 0 && health.attachments == 1 && health.pid > 1);
    counters();
    flags();
    registers();
    sets();
    keys();
    changes();
    OK(latticed_reconnect(client, PATIENCE_NS));
    latticed_close(client);
    read_only(argv[2]);
    puts("done");
    return 0;
}
