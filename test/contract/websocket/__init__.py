"""Conformance of the WebSocket and HTTP front, case by case, with nothing but sockets.

The cases of sections 1 to 13 carry the numbers of the published list of the Autobahn test suite for
servers; a fourth number, and the sections H and X, are ours. Autobahn speaks to a server that sends
everything back. rowtap does not, so each case is judged by what rowtap says to the same bytes: the
`pong` that carries what was sent, or the error that says what is wrong with it. Nothing passes
"non-strict": an answer too many, a missing Close frame, a reset, or a violation that is noticed only
after more was sent are failures.
"""
