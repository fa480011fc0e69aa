#ifndef ROWTAP_CHANGE_PIECE_FORMAT_H
#define ROWTAP_CHANGE_PIECE_FORMAT_H

#include "base/status.h"

/*
 * The bytes of a piece (private to piece_write.c and piece_read.c).
 *
 * varint     seven bits a byte, least significant first, the top bit says that more follow
 * signed     a varint of the zigzag form
 * text       varint length + 1 and the bytes; 0 is NULL
 *
 * piece       version: 1 byte, flags: 1 byte, run: varint, transaction…
 * transaction number, from the piece's first: varint; origin: varint; time in ms: varint;
 *             count: 4 bytes, little endian; that many changes
 * change      kind and PIECE_EXTERNAL, PIECE_MOVED: 1 byte; table; for ALTERED the old table; for
 *             rows: rowid: signed; when MOVED the old rowid: signed; for UPDATE and DELETE the old
 *             values; for INSERT and UPDATE the new values
 * table       number: varint; the first time, when it is the count of tables so far, its
 *             definition follows: varint length and
 *             id: varint; name: text; kind, PIECE_WITHOUT_ROWID…: 1 byte each; columns: varint
 *             count and each; key: varint count and the columns' indexes, varints; column that is
 *             the rowid: signed
 * column      id: varint; name, type, default: text; stored index: signed; place in the key:
 *             varint; kind, affinity, collation, not null: 1 byte each
 * value       type: 1 byte; INTEGER: signed; REAL: 8 bytes, little endian; TEXT and BLOB: varint
 *             length and the bytes; PIECE_SAME in the new values: as the old one
 */
#define PIECE_VERSION 1

#define PIECE_CONTINUED 1 /* the first transaction began in the piece before */
#define PIECE_CONTINUES 2 /* the last one goes on in the next */

#define PIECE_KIND 7
#define PIECE_EXTERNAL 8
#define PIECE_MOVED 16

#define PIECE_WITHOUT_ROWID 1
#define PIECE_STRICT 2
#define PIECE_INTERNAL 4

#define PIECE_SAME 6 /* beside enum value_type */

#endif
