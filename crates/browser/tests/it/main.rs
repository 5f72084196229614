//! The browser sees what it is there to see: a page that breaks rules is told from one that breaks none.

use firedrill_browser::{Browser, View};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A page of this test comes from this machine.
const WITHIN: Duration = Duration::from_secs(20);

const GOOD: &str = "<!doctype html><html lang=en><head><title>Good</title><link rel=icon href='data:,'></head><body><main><h1>Good</h1>\
    <form><label for=a>Name</label> <input id=a> <button>Go</button></form></main></body></html>";
const BAD: &str = "<!doctype html><html><head><title>Bad</title><link rel=icon href='data:,'></head><body><main><h1>Bad</h1><input>\
    <p style='width:3000px'>wide</p><script>document.title = 'it ran'</script></main></body></html>";

/// Gives `/good` and `/bad`, with a policy that forbids scripts.
async fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let length = stream.read(&mut request).await.unwrap_or_default();
            let page = if request[..length].starts_with(b"GET /good") { GOOD } else { BAD };
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-security-policy: script-src 'none'\r\nconnection: close";
            let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{page}", page.len());
            // A browser that has gone away needs no answer.
            let _gone = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_page_breaks_no_rule_and_a_bad_one_several() {
    let address = serve().await;
    let browser = Browser::open(View::NARROW).await.expect("a browser");
    browser.go(&format!("{address}/good")).await.expect("a page");
    assert_eq!(browser.violations().await.expect("a list"), []);
    assert_eq!((browser.overhang().await.expect("a width"), browser.complaints().await.expect("a log")), (0, vec![]));
    browser.fill("#a", "ada").await.expect("a field");

    browser.go(&format!("{address}/bad")).await.expect("a page");
    browser.read("h1", "Bad", WITHIN).await.expect("a heading");
    let rules: Vec<String> = browser.violations().await.expect("a list").into_iter().map(|one| one.rule).collect();
    for rule in ["html-has-lang", "label"] {
        assert!(rules.iter().any(|found| found == rule), "{rule} is not among {rules:?}");
    }
    assert!(browser.overhang().await.expect("a width") > 2000);
    let complaints = browser.complaints().await.expect("a log");
    assert!(complaints.iter().any(|line| line.contains("Content Security Policy")), "{complaints:?}");
    browser.close().await.expect("closed");
}
