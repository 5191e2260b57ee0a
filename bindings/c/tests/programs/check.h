/* What the test programs share: a call that must succeed, one that must fail in a certain way, a condition that must hold. */
#ifndef CHECK_H
#define CHECK_H

#include <latticed.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Far more than anything here takes, under valgrind on a busy machine too. */
#define PATIENCE_NS UINT64_C(60000000000)
#define BRIEFLY_NS UINT64_C(20000000)

#define CHECK(condition)                                                                                   \
    do {                                                                                                   \
        if (!(condition)) {                                                                                \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                         \
            exit(1);                                                                                       \
        }                                                                                                  \
    } while (0)

/* The call returns that code, and if it is a failure, the last error says so in words. */
#define RETURNS(expected, call)                                                                            \
    do {                                                                                                   \
        latticed_code code_ = (call);                                                                      \
        if (code_ != (expected)) {                                                                         \
            fprintf(stderr, "%s:%d: %s: %s instead of %s: %s\n", __FILE__, __LINE__, #call,                 \
                    latticed_code_name((int)code_), latticed_code_name((int)(expected)),                   \
                    latticed_last_error_text());                                                           \
            exit(1);                                                                                       \
        }                                                                                                  \
        if (code_ != LATTICED_OK) {                                                                        \
            latticed_error error_;                                                                         \
            latticed_last_error(&error_);                                                                  \
            CHECK(error_.code == code_ && latticed_last_error_text()[0] != '\0');                          \
        }                                                                                                  \
    } while (0)

#define OK(call) RETURNS(LATTICED_OK, call)

/* Tells the harness that it is its turn, and waits until it has done its part. */
#define YOUR_TURN(what)                                                                                    \
    do {                                                                                                   \
        char line_[16];                                                                                    \
        printf("%s\n", what);                                                                              \
        fflush(stdout);                                                                                    \
        CHECK(fgets(line_, sizeof line_, stdin) != NULL);                                                  \
    } while (0)

#endif
