/*
 * A kill switch: flipped on one host, seen on all.
 *
 *     kill_switch SOCKET KEY on|off     flips it, and says how far that has got
 *     kill_switch SOCKET KEY watch      prints "on" and "off" as it changes, until it is on for the first time after it was off
 *
 * cc kill_switch.c $(pkg-config --cflags --libs latticed)
 */
#include <latticed.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(latticed_code code)
{
    if (code != LATTICED_OK) {
        fprintf(stderr, "kill_switch: %s\n", latticed_last_error_text());
        exit(1);
    }
}

static void flip(latticed_flag *flag, bool on)
{
    const uint64_t timeout_ns = 50 * 1000 * 1000;
    latticed_reached reached;
    latticed_code code = on ? latticed_flag_enable_with(flag, LATTICED_ACK_ALL, timeout_ns, &reached)
                            : latticed_flag_disable_with(flag, LATTICED_ACK_ALL, timeout_ns, &reached);
    /* A host that is away gets it when it is back: no reason to flip again. */
    if (code != LATTICED_ENOTREACHED)
        must(code);
    printf("%s here and on %u of %u peers\n", on ? "on" : "off", reached.peers, reached.members - 1u);
}

static void watch(latticed_client *client, latticed_flag *flag)
{
    latticed_changes *changes;
    bool is_on, was_on;

    /* The watcher comes first: a flip between the first look and the watcher would be missed otherwise. */
    must(latticed_changes_open(client, &changes));
    must(latticed_flag_get(flag, &is_on));
    do {
        puts(is_on ? "on" : "off");
        fflush(stdout);
        was_on = is_on;
        while (is_on == was_on) {
            latticed_change change;
            /* Any change, a new daemon, or a second without either: look again. */
            must(latticed_changes_next(changes, 1000 * 1000 * 1000, &change));
            must(latticed_flag_get(flag, &is_on));
        }
    } while (was_on);
    puts("on");
    latticed_changes_close(changes);
}

int main(int argc, char **argv)
{
    latticed_client *client;
    latticed_flag *flag;

    if (argc != 4 || (strcmp(argv[3], "on") && strcmp(argv[3], "off") && strcmp(argv[3], "watch"))) {
        fprintf(stderr, "usage: kill_switch SOCKET KEY on|off|watch\n");
        return 2;
    }
    must(latticed_connect(argv[1], NULL, &client));
    must(latticed_flag_open(client, argv[2], strlen(argv[2]), &flag));
    if (strcmp(argv[3], "watch") == 0)
        watch(client, flag);
    else
        flip(flag, strcmp(argv[3], "on") == 0);
    latticed_flag_close(flag);
    latticed_close(client);
    return 0;
}
