CREATE TABLE IF NOT EXISTS mark_changes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    from_account text NOT NULL,
    to_account text,
    to_group_id text,
    set_mark text[] NOT NULL DEFAULT '{}',
    clear_mark text[] NOT NULL DEFAULT '{}',
    custom_mark text,
    state text NOT NULL DEFAULT 'waiting',
    code int,
    info text,
    settled_at timestamptz
);
CREATE INDEX IF NOT EXISTS mark_changes_waiting ON mark_changes (from_account, id) WHERE state = 'waiting';
