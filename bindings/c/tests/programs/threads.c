/* One client and its handles used by many threads at once: every addition counts, each thread has its own last error, and a
 * watcher sleeps while others write. Argument: the socket. */
#include "check.h"
#include <pthread.h>

enum { THREADS = 4, ADDITIONS = 300 };

static latticed_client *client;
static latticed_counter *shared;

static void *add(void *argument)
{
    const int *number = argument;
    latticed_counter *own, *none;
    latticed_ticket last;
    char wanted[32];
    int64_t value, before = 0;

    OK(latticed_counter_open(client, "own", 3, &own));
    for (int i = 0; i < ADDITIONS; i++) {
        OK(latticed_counter_add(shared, 1, &last));
        OK(latticed_counter_add(own, 2, NULL));
        OK(latticed_counter_get(shared, &value));
        CHECK(value >= before);
        before = value;
        /* The ring is smaller than what all of them write. */
        if (i % 16 == 0)
            OK(latticed_wait(client, &last, PATIENCE_NS));
    }
    RETURNS(LATTICED_EBADKEY, latticed_counter_open(client, "x", (size_t)(200 + *number), &none));
    snprintf(wanted, sizeof wanted, "this one %d;", 200 + *number);
    OK(latticed_wait(client, &last, PATIENCE_NS));
    CHECK(strstr(latticed_last_error_text(), wanted) != NULL);
    latticed_counter_close(own);
    return NULL;
}

static void *watch(void *argument)
{
    latticed_changes *changes = argument;
    latticed_change change;
    int64_t value = 0;

    while (value < THREADS * ADDITIONS) {
        OK(latticed_changes_next(changes, PATIENCE_NS, &change));
        CHECK(change.what != LATTICED_CHANGE_NONE);
        OK(latticed_counter_get(shared, &value));
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS], watcher;
    int numbers[THREADS];
    latticed_changes *changes;
    int64_t value;

    CHECK(argc == 2);
    OK(latticed_connect(argv[1], NULL, &client));
    OK(latticed_counter_open(client, "shared", 6, &shared));
    OK(latticed_changes_open(client, &changes));
    CHECK(pthread_create(&watcher, NULL, watch, changes) == 0);
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        CHECK(pthread_create(&threads[i], NULL, add, &numbers[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    OK(latticed_barrier(client, PATIENCE_NS));
    OK(latticed_counter_get(shared, &value));
    CHECK(value == THREADS * ADDITIONS);
    OK(latticed_read_counter(client, "own", 3, &value));
    CHECK(value == 2 * THREADS * ADDITIONS);
    CHECK(pthread_join(watcher, NULL) == 0);
    CHECK(latticed_last_error_text()[0] == '\0');
    latticed_changes_close(changes);
    latticed_counter_close(shared);
    latticed_close(client);
    puts("done");
    return 0;
}
