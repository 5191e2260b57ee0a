/* A daemon that is killed and comes back: reads go on, writes fail with nothing enqueued, and then all goes on by itself.
 * Argument: the socket. */
#include "check.h"

int main(int argc, char **argv)
{
    latticed_client *client;
    latticed_counter *counter;
    latticed_changes *changes;
    latticed_change change;
    latticed_error error;
    latticed_health health;
    int64_t value;

    CHECK(argc == 2);
    OK(latticed_connect(argv[1], NULL, &client));
    OK(latticed_counter_open(client, "c", 1, &counter));
    OK(latticed_changes_open(client, &changes));
    OK(latticed_counter_add_wait(counter, 5, PATIENCE_NS));

    YOUR_TURN("kill the daemon");
    RETURNS(LATTICED_EDAEMONCLOSED, latticed_reconnect(client, BRIEFLY_NS));
    RETURNS(LATTICED_EDAEMONCLOSED, latticed_counter_add(counter, 1, NULL));
    latticed_last_error(&error);
    CHECK(error.nothing_happened && error.is_temporary);
    OK(latticed_health_of(client, &health));
    CHECK(health.state == LATTICED_DAEMON_DEAD || health.state == LATTICED_DAEMON_CLOSED);
    CHECK(!health.is_writable);
    OK(latticed_counter_get(counter, &value));
    CHECK(value == 5);

    YOUR_TURN("start it again");
    OK(latticed_reconnect(client, PATIENCE_NS));
    do {
        OK(latticed_changes_next(changes, PATIENCE_NS, &change));
    } while (change.what == LATTICED_CHANGE_KEY);
    CHECK(change.what == LATTICED_CHANGE_RESTARTED);
    OK(latticed_counter_add_wait(counter, 1, PATIENCE_NS));
    OK(latticed_counter_get(counter, &value));
    CHECK(value == 6);
    OK(latticed_health_of(client, &health));
    CHECK(health.state == LATTICED_DAEMON_LIVE && health.attachments == 2);
    latticed_changes_close(changes);
    latticed_counter_close(counter);
    latticed_close(client);
    puts("done");
    return 0;
}
