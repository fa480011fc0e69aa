#ifndef ROWTAP_HUB_GAP_H
#define ROWTAP_HUB_GAP_H

/*
 * Gaps: changes that could not be captured (batch.h). Who heard what came before is told to
 * resynchronise, is live again after it, and nobody resumes from before it. Loop thread only.
 */
struct batch;
struct shard;

void gap_pass(struct shard *s, const struct batch *b); /* after its schema has been followed */

#endif
