//! A history in the form that Jepsen's tools read, so that an outsider can check it again.
