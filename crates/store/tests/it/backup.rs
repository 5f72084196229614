//! Copies of the file, taken while it is written.

use crate::{Fixture, event};
use firedrill_store::{Store, StoreError, TimelineFilter};
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
async fn a_copy_of_a_file_that_is_written_is_whole_and_can_be_put_back() {
    let fixture = Fixture::new().await;
    for number in 0..20 {
        fixture.store.append_event(&event(&format!("before {number}"), None, None)).await.expect("stored");
    }
    let writing = {
        let store = fixture.store.clone();
        tokio::spawn(async move {
            for number in 0..2000 {
                store.append_event(&event(&format!("meanwhile {number}"), None, None)).await.expect("stored");
            }
        })
    };
    let copy = fixture.dir.path().join("copy.db");
    let copied = Store::backup(&fixture.path(), &copy).await.expect("copied");
    writing.await.expect("written");
    assert!((20..2020).contains(&copied.lines), "{copied:?}");
    assert_eq!(std::fs::metadata(&copy).expect("there").permissions().mode() & 0o777, 0o600);
    let again = Store::backup(&fixture.path(), &copy).await.expect_err("it would be overwritten");
    assert!(again.to_string().contains("copy.db"), "{again}");

    fixture.store.close().await;
    let (restored, kept) = Store::restore(&copy, &fixture.path(), "now").await.expect("put back");
    assert_eq!(restored.lines, copied.lines);
    let store = fixture.reopened().await;
    assert_eq!(store.newest_sequence().await.expect("read"), copied.lines);
    // What was there is kept, whole.
    let before = Store::open(&kept.expect("there was one")).await.expect("opened");
    assert_eq!(before.newest_events(&TimelineFilter::default(), 1).await.expect("read")[0].sequence, 2020);
}

#[tokio::test]
async fn a_damaged_or_newer_copy_is_refused_and_nothing_changed() {
    let fixture = Fixture::new().await;
    for number in 0..2000 {
        fixture.store.append_event(&event(&format!("line {number}"), None, None)).await.expect("stored");
    }
    let copy = fixture.dir.path().join("copy.db");
    Store::backup(&fixture.path(), &copy).await.expect("copied");
    let whole = std::fs::read(&copy).expect("read");
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 6000].fill(0xa5);
    std::fs::write(&copy, &damaged).expect("written");
    let error = Store::restore(&copy, &fixture.path(), "now").await.expect_err("damaged");
    assert!(matches!(error, StoreError::Damaged { .. } | StoreError::Failed { .. }), "{error:?}");
    std::fs::write(&copy, "no database").expect("written");
    Store::restore(&copy, &fixture.path(), "now").await.expect_err("no database");

    std::fs::write(&copy, &whole).expect("written");
    let url = format!("sqlite://{}", copy.display());
    let mut newer = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url).await.expect("opened");
    let row = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
               VALUES (9999, 'of tomorrow', true, x'00', 0)";
    sqlx::query(row).execute(&mut newer).await.expect("written");
    let error = Store::restore(&copy, &fixture.path(), "now").await.expect_err("newer");
    assert!(matches!(error, StoreError::OtherVersion { .. }), "{error:?}");
    assert_eq!(fixture.store.newest_sequence().await.expect("still there"), 2000);
    let left: Vec<_> =
        std::fs::read_dir(fixture.dir.path()).expect("listed").flatten().map(|file| file.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("restoring")), "{left:?}");
}
