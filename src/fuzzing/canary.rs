//! A target with a defect, as decoders used to have them: shows that the harness notices.

/// A byte that says where another one is, which it trusts.
pub fn canary(data: &[u8]) {
    if let [b'k', b'v', place, rest @ ..] = data {
        assert_ne!(rest[usize::from(*place)], 0, "the byte that is pointed to");
    }
}
