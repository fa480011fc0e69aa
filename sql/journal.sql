-- What `rowtap serve --journal` adds to the served database: its history, so that clients can
-- resume after a restart. Dropping both tables while no server runs forgets it without harm.

-- One row: what this history is.
CREATE TABLE rowtap_journal_info(
    format INTEGER NOT NULL,  -- of the pieces; 1
    epoch TEXT NOT NULL,      -- names the history; seq and tx count within it
    run INTEGER NOT NULL,     -- how many times a server has opened it
    ended INTEGER NOT NULL    -- 1: the file was served without --journal since, so a part is missing
);

-- Each row is a piece of one commit, written in the same transaction as the rows it tells about.
CREATE TABLE rowtap_journal(
    last_seq INTEGER PRIMARY KEY,  -- of the changes in it
    first_seq INTEGER NOT NULL,
    first_tx INTEGER NOT NULL,     -- of the transactions in it
    last_tx INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,      -- of the commit, since 1970
    total INTEGER NOT NULL,        -- bytes of data ever written, up to and with this row
    data BLOB NOT NULL             -- the changes: see src/change/piece_format.h
);

-- One row: up to where in the write-ahead log the commits of other processes are in the journal.
CREATE TABLE rowtap_journal_place(
    salt BLOB NOT NULL,        -- of the log's generation, 8 bytes
    frame INTEGER NOT NULL,    -- all commits up to this frame are
    done INTEGER NOT NULL,     -- and so many changes of the one behind it
    writes INTEGER NOT NULL,   -- grows with each commit of the server that writes this row
    time_ms INTEGER NOT NULL   -- after an orderly end the file's time of modification; otherwise 0
);
