/* How far a write has got: a peer that is not there yet, then one that is. Argument: the socket. */
#include "check.h"

int main(int argc, char **argv)
{
    latticed_client *client;
    latticed_counter *counter;
    latticed_ticket ticket;
    latticed_reached reached;
    latticed_error error;

    CHECK(argc == 2);
    OK(latticed_connect(argv[1], NULL, &client));
    OK(latticed_counter_open(client, "c", 1, &counter));
    OK(latticed_counter_add(counter, 1, &ticket));
    /* From here on the daemon has said how many members there are. */
    OK(latticed_wait_with(client, &ticket, LATTICED_ACK_LOGGED, PATIENCE_NS, NULL));
    RETURNS(LATTICED_ENOTREACHED, latticed_wait_with(client, &ticket, LATTICED_ACK_ALL, BRIEFLY_NS, &reached));
    CHECK(reached.members == 2 && reached.peers == 0 && !reached.all && !reached.majority);
    latticed_last_error(&error);
    CHECK(!error.nothing_happened && error.is_temporary);
    OK(latticed_wait_with(client, &ticket, LATTICED_ACK_DURABLE, PATIENCE_NS, &reached));
    CHECK(reached.local && reached.logged && reached.durable && !reached.all);
    RETURNS(LATTICED_EACKIMPOSSIBLE, latticed_barrier_with(client, 2, BRIEFLY_NS, NULL));

    YOUR_TURN("start the peer");
    OK(latticed_wait_with(client, &ticket, 1, PATIENCE_NS, &reached));
    CHECK(reached.peers == 1 && reached.members == 2);
    OK(latticed_counter_add_with(counter, 1, LATTICED_ACK_MAJORITY, PATIENCE_NS, &reached));
    CHECK(reached.majority);
    OK(latticed_counter_add(counter, 1, NULL));
    OK(latticed_barrier_with(client, LATTICED_ACK_ALL, PATIENCE_NS, &reached));
    CHECK(reached.all && reached.peers == 1);
    latticed_counter_close(counter);
    latticed_close(client);
    puts("done");
    return 0;
}
