CREATE TABLE alert_lines (
    account TEXT NOT NULL,
    line TEXT NOT NULL,
    taken BIGINT NOT NULL,
    touched BIGINT NOT NULL,
    row_sum BIGINT NOT NULL,
    PRIMARY KEY (account, line)
) ROWS;
CREATE INDEX alert_lines_by_touch ON alert_lines (touched);
