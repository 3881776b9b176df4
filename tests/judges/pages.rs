//! Our pages as PostgreSQL's pageinspect takes them apart.

use crate::client::{Client, Row};

/// What pageinspect says about every item on the pages that `source` gives (a query with columns
/// `block` and `page`), ordered by the first attribute: which page an item is on is not the format's
/// concern. The attributes are raw, with their headers, as hexadecimal digits.
pub fn items(client: &mut Client, source: &str, table: &str) -> Vec<Row> {
    client.rows(&format!(
        "SELECT lp_flags, lp_len, t_ctid = format('(%s,%s)', block, lp)::tid AS points_to_itself,
                t_infomask2 & 2047 AS columns, t_infomask & 7, t_hoff, t_bits,
                (SELECT string_agg(coalesce(encode(value, 'hex'), 'NULL'), ',' ORDER BY number)
                   FROM unnest(tuple_data_split('{table}'::regclass, t_data, t_infomask,
                                                t_infomask2, t_bits))
                        WITH ORDINALITY AS attribute (value, number)) AS attributes
           FROM ({source}) AS pages, heap_page_items(page) ORDER BY attributes"
    ))
}

/// The pages of a file of ours, lent to PostgreSQL.
pub fn file_pages(path: &str) -> String {
    format!(
        "SELECT block, pg_read_binary_file('{path}', block * 8192, 8192) AS page
           FROM generate_series(0, (pg_stat_file('{path}')).size / 8192 - 1) AS block"
    )
}

/// The pages of one of PostgreSQL's own tables.
pub fn table_pages(table: &str) -> String {
    format!(
        "SELECT block, get_raw_page('{table}', block::int) AS page
           FROM generate_series(0, pg_relation_size('{table}') / 8192 - 1) AS block"
    )
}

/// PostgreSQL finds each page's header and checksum in order, and the page as old as a record of the log
/// before `log_end`; a page may also be all zeros, as bulk extension leaves it at the end of a table.
pub fn check_headers(client: &mut Client, source: &str, log_end: &str) {
    let headers = client.rows(&format!(
        "SELECT DISTINCT (header).checksum = page_checksum(page, block::int), (header).pagesize,
                (header).version, (header).special,
                (header).lsn > '0/0' AND (header).lsn <= '{log_end}'
           FROM (SELECT *, page_header(page) AS header FROM ({source}) AS pages
                  WHERE page <> decode(repeat('00', 8192), 'hex')) AS headers"
    ));
    let sound = ["t", "8192", "4", "8192", "t"].map(|text| Some(text.to_owned()));
    assert_eq!(headers, [sound.to_vec()]);
}
