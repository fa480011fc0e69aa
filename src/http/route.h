#ifndef ROWTAP_HTTP_ROUTE_H
#define ROWTAP_HTTP_ROUTE_H

#include "http/request.h"

/* Checks who asks (Host, Origin), finds the handler in the table of routes and has it answer. */
void route_run(struct request *r);

/* The handlers; `rest` is the undecoded part of the path after a prefix route. */
void api_health(struct request *r, const char *rest);
void api_websocket_health(struct request *r, const char *rest);
void api_ws_status(struct request *r, const char *rest);
void api_broadcast(struct request *r, const char *rest);
void api_tables(struct request *r, const char *rest);
void api_table(struct request *r, const char *rest);
void api_changes(struct request *r, const char *rest);
/* It is for a stream of events: nothing but 200 may be answered while that is not to be had … */
bool api_changes_wanted(const struct request *r);
void api_changes_later(struct request *r); /* … but this, which has the client come back */
void api_sql(struct request *r, const char *rest);
int api_sql_status(const struct request *r, const char *code); /* that fits an error code */
bool api_sql_is_json(struct request *r); /* the body's type is right, or has been answered */
void api_realtime(struct request *r, const char *rest);
void api_realtime_stats(struct request *r, const char *rest);
void api_sync(struct request *r, const char *rest);
void metrics(struct request *r, const char *rest);
void web_file(struct request *r, const char *rest);

#endif
