#ifndef ROWTAP_BASE_STATUS_H
#define ROWTAP_BASE_STATUS_H

/* What an int result means throughout the server: 0, or one of these. */
enum status {
    STATUS_OK = 0,
    STATUS_NOMEM = -1,     /* memory ran out; nothing was changed */
    STATUS_INVALID = -2,   /* the input is malformed */
    STATUS_NOT_FOUND = -3, /* a name that does not exist */
    STATUS_TOO_LARGE = -4, /* a configured bound was reached */
    STATUS_CLOSED = -5,    /* the other side is gone, or the object is being shut down */
    STATUS_IO = -6,        /* the operating system refused; errno says why */
    STATUS_FORBIDDEN = -7, /* well-formed, but not allowed */
    STATUS_CONFLICT = -8,  /* exists already */
};

#endif
