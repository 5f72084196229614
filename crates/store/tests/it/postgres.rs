//! What holds of a file holds of PostgreSQL.

use crate::{access, decisions, enrolment, guards, messages, records, schedules};
use firedrill_played::Postgres;
use firedrill_store::{Contender, Epoch, Lease, PostgresUrl, Store};
use std::cell::RefCell;
use std::time::Duration;

/// The other tests, each a function that panics when something does not hold.
const TESTS: &[fn()] = &[
    access::a_user_is_added_once_and_a_change_ends_their_sessions,
    access::of_a_users_sessions_the_newest_are_kept,
    access::a_token_reads_back_and_a_code_is_used_once,
    decisions::a_decision_is_there_after_a_kill,
    decisions::an_older_decision_changes_nothing,
    decisions::operations_are_replaced_whole_and_listed_newest_first,
    decisions::a_reader_by_number_misses_nothing_of_two_writers,
    enrolment::a_token_is_good_once_for_its_host_and_in_time,
    enrolment::of_two_at_once_one_is_accepted,
    enrolment::enrolling_anew_takes_what_was_before_out_of_force,
    enrolment::the_old_certificate_is_good_until_the_new_one_is_used,
    enrolment::a_revoked_host_needs_a_token_that_was_made_later,
    guards::limits_stay_as_they_were_set,
    guards::overrides_and_choices_are_kept,
    guards::a_request_is_approved_once,
    messages::an_event_is_put_in_once_for_each_receiver,
    messages::what_a_killed_process_had_taken_is_taken_again_with_the_same_id,
    messages::dead_messages_come_back_when_a_person_says_so,
    messages::a_receiver_that_is_away_does_not_fill_the_store,
    messages::receivers_rules_and_the_time_of_the_daily_message_are_kept,
    messages::what_lasts_begins_and_ends_once,
    records::a_cluster_with_its_login,
    records::a_host_and_when_it_was_seen,
    records::the_first_halt_stands_until_it_is_cleared,
    records::attacks_are_open_until_nothing_is_left_of_them,
    records::changes_of_many_attacks_are_stored_at_once_with_their_lines_in_order,
    records::runs_are_listed_by_what_they_came_to,
    records::a_rung_is_passed_until_it_fails,
    records::the_timeline_is_filtered_and_paged,
    schedules::a_schedule_is_kept_paused_and_resumed,
    schedules::the_first_plan_of_a_week_stands_until_the_schedule_changes,
    schedules::a_due_time_is_taken_once,
    schedules::closures_and_presences_end,
];
/// Tests that are about a file.
const OF_FILES: usize = 4;

thread_local! {
    /// The next database of the test that runs on this thread; none: it is on a file.
    static NEXT: RefCell<Option<PostgresUrl>> = const { RefCell::new(None) };
}

/// The database of a fixture that is made now, with the epoch of its only server.
pub(crate) async fn of_this_test() -> Option<(PostgresUrl, Epoch)> {
    let url = NEXT.take()?;
    let epoch = acting(&url).await;
    Some((url, epoch))
}

async fn acting(url: &PostgresUrl) -> Epoch {
    let lease = Lease::connect(url).await.expect("reached");
    let server = Contender { id: "only".to_owned(), http: "http://127.0.0.1:1".to_owned(), identity: String::new() };
    lease.take(&server, Duration::from_secs(600)).await.expect("answered").expect("nobody else")
}

#[test]
fn what_holds_of_a_file_holds_of_postgresql() {
    let server = Postgres::start().expect("a server");
    for (number, test) in TESTS.iter().enumerate() {
        let url = server.database(&format!("test_{number}")).expect("a database").parse().expect("an address");
        NEXT.set(Some(url));
        test();
        assert!(NEXT.take().is_none(), "test {number} has not used its database");
    }
}

#[test]
fn none_is_forgotten() {
    let texts = [
        include_str!("access.rs"),
        include_str!("decisions.rs"),
        include_str!("enrolment.rs"),
        include_str!("guards.rs"),
        include_str!("messages.rs"),
        include_str!("records.rs"),
        include_str!("schedules.rs"),
    ];
    let there: usize = texts.iter().map(|text| text.matches("#[tokio::test").count()).sum();
    assert_eq!(TESTS.len() + OF_FILES, there, "a new test belongs into the list, or is about files");
}

#[tokio::test]
async fn both_schemas_have_the_same_tables_and_columns_and_every_table_has_the_fence() {
    let server = Postgres::start().expect("a server");
    let url: PostgresUrl = server.database("fd").expect("a database").parse().expect("an address");
    Store::open_shared(&url, acting(&url).await).await.expect("a store");
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("firedrill.db");
    Store::open(&path).await.expect("a store").close().await;

    let theirs = server.sql(
        "fd",
        "SELECT table_name || '.' || column_name || CASE is_nullable WHEN 'YES' THEN '?' ELSE '' END
         FROM information_schema.columns
         WHERE table_schema = 'public' AND column_name <> 'rowid' AND table_name NOT IN ('acting', '_sqlx_migrations')",
    );
    let mut theirs: Vec<String> = theirs.expect("read").lines().map(str::to_owned).collect();
    theirs.sort();
    let url = format!("sqlite://{}", path.display());
    let mut file = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url).await.expect("opened");
    let rows = sqlx::query_scalar::<_, String>(
        "SELECT t.name || '.' || c.name || CASE c.\"notnull\" WHEN 0 THEN '?' ELSE '' END
         FROM sqlite_schema t JOIN pragma_table_info(t.name) c
         WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' AND t.name <> '_sqlx_migrations'",
    );
    let mut ours = rows.fetch_all(&mut file).await.expect("read");
    ours.sort();
    assert!(ours.len() > 50);
    assert_eq!(ours, theirs);

    let open = server.sql(
        "fd",
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT IN ('acting', '_sqlx_migrations')
         AND NOT EXISTS (SELECT 1 FROM pg_trigger WHERE tgrelid = CAST(tablename AS regclass) AND tgname = 'only_who_acts')",
    );
    assert_eq!(open.expect("read"), "", "a table that whoever is deposed could write");
}
