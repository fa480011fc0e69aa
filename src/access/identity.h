#ifndef ROWTAP_ACCESS_IDENTITY_H
#define ROWTAP_ACCESS_IDENTITY_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Who somebody is, as a verified token said it. Immutable, counted by references, shared by
 * threads. Where the server has no keys there is none: the pointer is NULL everywhere.
 */
struct identity {
    atomic_uint refs;
    char *user_id;      /* claim sub; NULL: nobody */
    char *role;         /* claim role; NULL: none */
    json_t *claims;     /* all of them, for row rules: to be read only; NULL: none */
    int64_t expires_ms; /* wall clock; 0: never */
    uint64_t number;    /* of the token, for logs */
};

/*
 * One reference; NULL: no memory, or `claims` is no object. user_id and role are copied out of the
 * claims, and are NULL where those are no texts. The reference to `claims` is taken over in any
 * case; nobody else may keep one.
 */
struct identity *identity_new(json_t *claims, int64_t expires_ms);
struct identity *identity_ref(struct identity *who); /* NULL is allowed: gives NULL */
void identity_unref(struct identity *who);           /* NULL is allowed */

/* For logs and messages: the user, or NULL for nobody. `who` may be NULL. */
const char *identity_user(const struct identity *who);

/*
 * The user, the role and all other claims are the same, but for those that every token has anew
 * (when it begins and ends, its number). NULL is the same as NULL.
 */
bool identity_same_rights(const struct identity *a, const struct identity *b);

#endif
