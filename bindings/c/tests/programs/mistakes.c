/* Mistakes are answered with a code and words, store nothing, and harm nobody. Argument: the socket. */
#include "check.h"

static void nobody(void *context, const void *element, size_t len)
{
    (void)context, (void)element, (void)len;
    exit(1);
}

static void null_arguments(latticed_client *client)
{
    latticed_counter *counter;
    latticed_set *set;
    latticed_register *reg;
    latticed_ticket ticket;
    latticed_change change;
    int64_t value = 42;
    bool is_on = true;
    size_t len = 0;

    RETURNS(LATTICED_EINVAL, latticed_connect(NULL, NULL, &client));
    CHECK(client == NULL && strstr(latticed_last_error_text(), "socket is NULL") != NULL);
    RETURNS(LATTICED_EINVAL, latticed_connect("/nowhere", NULL, NULL));
    RETURNS(LATTICED_EINVAL, latticed_counter_open(NULL, "k", 1, &counter));
    CHECK(counter == NULL);
    RETURNS(LATTICED_EINVAL, latticed_counter_get(NULL, &value));
    CHECK(value == 42);
    RETURNS(LATTICED_EINVAL, latticed_counter_add(NULL, 1, &ticket));
    RETURNS(LATTICED_EINVAL, latticed_counter_add_wait(NULL, 1, 0));
    RETURNS(LATTICED_EINVAL, latticed_counter_add_with(NULL, 1, LATTICED_ACK_ALL, 0, NULL));
    RETURNS(LATTICED_EINVAL, latticed_flag_get(NULL, &is_on));
    RETURNS(LATTICED_EINVAL, latticed_flag_enable(NULL, NULL));
    RETURNS(LATTICED_EINVAL, latticed_register_get(NULL, NULL, 0, &len, NULL));
    RETURNS(LATTICED_EINVAL, latticed_set_len(NULL, NULL));
    RETURNS(LATTICED_EINVAL, latticed_set_members(NULL, nobody, NULL));
    RETURNS(LATTICED_EINVAL, latticed_changes_next(NULL, 0, &change));
    RETURNS(LATTICED_EINVAL, latticed_wait(NULL, &ticket, 0));
    RETURNS(LATTICED_EINVAL, latticed_barrier(NULL, 0));
    RETURNS(LATTICED_EINVAL, latticed_reconnect(NULL, 0));
    RETURNS(LATTICED_EINVAL, latticed_health_of(NULL, NULL));
    RETURNS(LATTICED_EINVAL, latticed_keys(NULL, NULL, 0, NULL, NULL));
    RETURNS(LATTICED_EINVAL, latticed_set_open(NULL, "s", 1, &set));
    RETURNS(LATTICED_EINVAL, latticed_register_open(NULL, "r", 1, &reg));
    /* What there is nothing of is closed without fuss. */
    latticed_close(NULL);
    latticed_counter_close(NULL);
    latticed_flag_close(NULL);
    latticed_register_close(NULL);
    latticed_set_close(NULL);
    latticed_changes_close(NULL);
    latticed_options_init(NULL);
    latticed_last_error(NULL);
}

static void bad_values(latticed_client *client)
{
    latticed_counter *counter;
    latticed_flag *flag;
    latticed_register *reg;
    latticed_set *set;
    latticed_reached reached;
    latticed_ticket made_up = { { 1, 1, UINT64_C(1) << 40 } }, foreign = { { 77, 1, 0 } }, far_away = { { 1, 1000000, 0 } };
    latticed_error error;
    latticed_ack ack = 7;
    char longer[2000] = { 0 };
    int64_t value = 42;
    bool applied = true;

    RETURNS(LATTICED_EBADKEY, latticed_counter_open(client, NULL, 0, &counter));
    CHECK(counter == NULL);
    RETURNS(LATTICED_EBADKEY, latticed_counter_open(client, longer, LATTICED_MAX_KEY_BYTES + 1, &counter));
    RETURNS(LATTICED_EINVAL, latticed_counter_open(client, NULL, 1, &counter));
    CHECK(strstr(latticed_last_error_text(), "key is NULL") != NULL);
    RETURNS(LATTICED_EINVAL, latticed_counter_open(client, longer, SIZE_MAX, &counter));
    OK(latticed_counter_open(client, longer, LATTICED_MAX_KEY_BYTES, &counter));
    OK(latticed_counter_add_wait(counter, 1, PATIENCE_NS));
    RETURNS(LATTICED_EINVAL, latticed_counter_get(counter, NULL));
    RETURNS(LATTICED_EKINDMISMATCH, latticed_flag_open(client, longer, LATTICED_MAX_KEY_BYTES, &flag));
    CHECK(flag == NULL);
    RETURNS(LATTICED_EKINDMISMATCH, latticed_read_set_len(client, longer, LATTICED_MAX_KEY_BYTES, (uint64_t *)&value));
    CHECK(value == 42);

    RETURNS(LATTICED_EINVAL, latticed_counter_add_with(counter, 1, LATTICED_ACK_ALL + 1, 0, NULL));
    memset(&reached, 0xff, sizeof reached);
    RETURNS(LATTICED_EACKIMPOSSIBLE, latticed_counter_add_with(counter, 1, 1, PATIENCE_NS, &reached));
    CHECK(!reached.local && reached.peers == 0);
    latticed_last_error(&error);
    CHECK(error.nothing_happened && !error.is_temporary && error.refusal == LATTICED_REFUSAL_NONE && error.writes == 0);
    OK(latticed_counter_get(counter, &value));
    CHECK(value == 1);
    latticed_counter_close(counter);

    RETURNS(LATTICED_EINVAL, latticed_poll(client, &made_up, &applied));
    RETURNS(LATTICED_EOUTCOMEFORGOTTEN, latticed_poll(client, &foreign, &applied));
    RETURNS(LATTICED_ETIMEOUT, latticed_wait(client, &far_away, BRIEFLY_NS));
    latticed_last_error(&error);
    CHECK(!error.nothing_happened && error.is_temporary);
    RETURNS(LATTICED_EINVAL, latticed_wait(client, NULL, 0));

    OK(latticed_register_open(client, "r", 1, &reg));
    RETURNS(LATTICED_ETOOLARGE, latticed_register_set(reg, longer, LATTICED_MAX_REGISTER_BYTES + 1, NULL));
    RETURNS(LATTICED_EINVAL, latticed_register_set(reg, NULL, 5, NULL));
    RETURNS(LATTICED_EINVAL, latticed_register_get(reg, NULL, 5, (size_t *)&value, NULL));
    RETURNS(LATTICED_EINVAL, latticed_register_get(reg, longer, 5, NULL, NULL));
    latticed_register_close(reg);

    OK(latticed_set_open(client, "s", 1, &set));
    RETURNS(LATTICED_ETOOLARGE, latticed_set_insert(set, longer, LATTICED_MAX_ELEMENT_BYTES + 1, NULL));
    RETURNS(LATTICED_EINVAL, latticed_set_members(set, NULL, NULL));
    OK(latticed_set_members(set, nobody, NULL));
    latticed_set_close(set);

    OK(latticed_ack_parse("peers=2", &ack));
    CHECK(ack == 2);
    OK(latticed_ack_parse("all", &ack));
    CHECK(ack == LATTICED_ACK_ALL);
    RETURNS(LATTICED_EINVAL, latticed_ack_parse("most", &ack));
    CHECK(ack == LATTICED_ACK_ALL && strstr(latticed_last_error_text(), "majority") != NULL);
}

/* The daemon has room for 64 keys, and soon refuses more: nothing of that happened. */
static void refusals(latticed_client *client)
{
    latticed_counter *counter = NULL;
    latticed_ticket ticket;
    latticed_error error;
    latticed_code code = LATTICED_OK;
    char key[16];
    int64_t value;

    for (int i = 0; code == LATTICED_OK; i++) {
        CHECK(i < 200);
        latticed_counter_close(counter);
        OK(latticed_counter_open(client, key, (size_t)snprintf(key, sizeof key, "many %d", i), &counter));
        code = latticed_counter_add_wait(counter, 1, PATIENCE_NS);
    }
    CHECK(code == LATTICED_EREFUSED);
    latticed_last_error(&error);
    CHECK(error.refusal == LATTICED_REFUSAL_CAPACITY && error.nothing_happened && error.writes == 0);
    OK(latticed_read_counter(client, key, strlen(key), &value));
    CHECK(value == 0);
    for (int i = 0; i < 3; i++)
        OK(latticed_counter_add(counter, 1, &ticket));
    RETURNS(LATTICED_EWRITESREFUSED, latticed_barrier(client, PATIENCE_NS));
    latticed_last_error(&error);
    CHECK(error.refusal == LATTICED_REFUSAL_CAPACITY && error.writes == 3);
    /* By a barrier once, by who asks about one of them each time. */
    OK(latticed_barrier(client, PATIENCE_NS));
    RETURNS(LATTICED_EREFUSED, latticed_wait(client, &ticket, PATIENCE_NS));
    latticed_counter_close(counter);
}

static void no_daemon(void)
{
    latticed_client *client;
    latticed_options options;
    latticed_error error;

    latticed_options_init(&options);
    CHECK(options.read_policy == LATTICED_READ_LAST_KNOWN && options.connect_timeout_ns == UINT64_C(2000000000));
    RETURNS(LATTICED_ECONNECT, latticed_connect("/nowhere/daemon.sock", &options, &client));
    CHECK(client == NULL);
    latticed_last_error(&error);
    CHECK(error.system_error == 2 && error.nothing_happened);
    RETURNS(LATTICED_EOPEN, latticed_open_read_only("/nowhere/segment", NULL, &client));
    options.read_policy = 7;
    RETURNS(LATTICED_EINVAL, latticed_connect("/nowhere/daemon.sock", &options, &client));
}

static void disconnected(const char *socket)
{
    latticed_client *client;
    latticed_counter *counter;
    int64_t value = -1;

    OK(latticed_connect(socket, NULL, &client));
    OK(latticed_counter_open(client, "many 1", 6, &counter));
    OK(latticed_disconnect(client));
    latticed_close(client);
    RETURNS(LATTICED_EDAEMONCLOSED, latticed_counter_add(counter, 1, NULL));
    OK(latticed_counter_get(counter, &value));
    CHECK(value == 1);
    latticed_counter_close(counter);
    RETURNS(LATTICED_EINVAL, latticed_disconnect(NULL));
}

int main(int argc, char **argv)
{
    latticed_client *client;
    latticed_options options;
    latticed_error error;

    CHECK(argc == 2);
    CHECK(latticed_version()[0] != '\0' && strcmp(latticed_code_name(-1), "unknown") == 0);
    latticed_last_error(&error);
    CHECK(error.code == LATTICED_OK && latticed_last_error_text()[0] == '\0');
    latticed_options_init(&options);
    options.read_policy = LATTICED_READ_FRESH;
    OK(latticed_connect(argv[1], &options, &client));
    null_arguments(NULL);
    bad_values(client);
    refusals(client);
    no_daemon();
    disconnected(argv[1]);
    latticed_close(client);
    puts("done");
    return 0;
}
