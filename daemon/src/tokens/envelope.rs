//! Encryption with a passphrase: the format of `age` (age-encryption.org/v1) with its
//! scrypt recipient, so that `age --decrypt` opens what is closed here. Pure.
//!
//! Whatever the bytes are, opening them ends, in bounded memory, with the content or
//! with one of three reasons.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{aead, hmac};
use zeroize::Zeroizing;

use crate::secret::Secret;

const INTRO: &str = "age-encryption.org/v1";
const LABEL: &[u8] = b"age-encryption.org/v1/scrypt";

/// Work to derive a key: 2 to the power of it times 1 KiB of memory.
const WORK: u8 = 17;

/// Most work that is done for a file (1 GiB): age makes as much of it as the machine
/// does in a second.
const MAX_WORK: u8 = 20;

/// Content is closed in pieces of this length.
const CHUNK: usize = 64 * 1024;

/// Longest header that is looked at; ours has 150 bytes.
const MAX_HEADER: usize = 4096;

/// Why a file cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum EnvelopeError {
    /// It is something else.
    #[error("it is not encrypted with a passphrase in the format of age")]
    Foreign,
    /// It is closed with another passphrase.
    #[error("the passphrase is not the one that it was made with")]
    Passphrase,
    /// It is not as it was made.
    #[error("it is damaged or not whole: copy it again")]
    Damaged,
}

/// Closes content with a passphrase.
pub(super) fn close(content: &[u8], passphrase: &Secret<String>) -> Vec<u8> {
    close_with(WORK, content, passphrase)
}

fn close_with(work: u8, content: &[u8], passphrase: &Secret<String>) -> Vec<u8> {
    let random = |bytes: &mut [u8]| {
        let filled = SystemRandom::new().fill(bytes);
        filled.expect("the system has random numbers");
    };
    let mut file_key = Zeroizing::new([0; 16]);
    let (mut salt, mut nonce) = ([0; 16], [0; 16]);
    random(&mut file_key[..]);
    random(&mut salt);
    random(&mut nonce);
    let mut body = file_key.to_vec();
    let wrapping = wrapping_key(passphrase, &salt, work);
    seal(&wrapping, [0; 12], &mut body);
    let (salt, body) = (encode(&salt), encode(&body));
    let mut closed = format!("{INTRO}\n-> scrypt {salt} {work}\n{body}\n---").into_bytes();
    let mac = hmac::sign(&mac_key(&file_key), &closed);
    closed.extend_from_slice(format!(" {}\n", encode(mac.as_ref())).as_bytes());
    closed.extend_from_slice(&nonce);
    let key = payload_key(&file_key, &nonce);
    let chunks = content.chunks(CHUNK).count().max(1);
    for at in 0..chunks {
        let end = content.len().min((at + 1) * CHUNK);
        let mut piece = content[at * CHUNK..end].to_vec();
        seal(&key, piece_nonce(at, at + 1 == chunks), &mut piece);
        closed.extend_from_slice(&piece);
    }
    closed
}

/// Opens what was closed with a passphrase.
pub(super) fn open(
    closed: &[u8],
    passphrase: &Secret<String>,
) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
    let Header {
        salt,
        work,
        body,
        signed,
        mac,
        payload,
    } = Header::read(closed)?;
    let wrapping = wrapping_key(passphrase, &salt, work);
    let mut body = Zeroizing::new(body);
    let file_key = unseal(&wrapping, [0; 12], &mut body).ok_or(EnvelopeError::Passphrase)?;
    let file_key: &[u8; 16] = file_key.try_into().map_err(|_| EnvelopeError::Damaged)?;
    let verified = hmac::verify(&mac_key(file_key), signed, &mac);
    verified.map_err(|_| EnvelopeError::Damaged)?;
    let (nonce, mut rest) = payload.split_at_checked(16).ok_or(EnvelopeError::Damaged)?;
    let nonce = nonce.try_into().expect("it is as long");
    let key = payload_key(file_key, nonce);
    let mut content = Zeroizing::new(Vec::with_capacity(rest.len()));
    for at in 0.. {
        let is_last = rest.len() <= CHUNK + CHACHA20_POLY1305.tag_len();
        let length = rest.len().min(CHUNK + CHACHA20_POLY1305.tag_len());
        let (piece, behind) = rest.split_at(length);
        let mut piece = Zeroizing::new(piece.to_vec());
        let opened = unseal(&key, piece_nonce(at, is_last), &mut piece);
        content.extend_from_slice(opened.ok_or(EnvelopeError::Damaged)?);
        if is_last {
            break;
        }
        rest = behind;
    }
    Ok(content)
}

struct Header<'a> {
    salt: [u8; 16],
    work: u8,
    body: Vec<u8>,
    /// What its authentication covers.
    signed: &'a [u8],
    mac: Vec<u8>,
    payload: &'a [u8],
}

impl<'a> Header<'a> {
    fn read(closed: &'a [u8]) -> Result<Self, EnvelopeError> {
        let foreign = EnvelopeError::Foreign;
        let head = &closed[..closed.len().min(MAX_HEADER)];
        if !head.starts_with(INTRO.as_bytes()) {
            return Err(foreign);
        }
        let mut rest = head;
        let mut line = || {
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            let (line, behind) = rest.split_at(end);
            rest = &behind[1..];
            std::str::from_utf8(line).ok()
        };
        let damaged = EnvelopeError::Damaged;
        let (intro, stanza) = (line().ok_or(damaged)?, line().ok_or(damaged)?);
        let (body, end) = (line().ok_or(damaged)?, line().ok_or(damaged)?);
        let mut words = stanza.strip_prefix("-> scrypt ").ok_or(foreign)?.split(' ');
        let (salt, work) = (words.next(), words.next());
        if intro != INTRO || words.next().is_some() {
            return Err(foreign);
        }
        let work = work.and_then(|work| work.parse().ok());
        let work = work.filter(|work| (1..=MAX_WORK).contains(work));
        let mac = end.strip_prefix("--- ").ok_or(damaged)?;
        let at = head.len() - rest.len();
        // The line without what is behind the dashes and its end.
        let signed = &closed[..at - mac.len() - " \n".len()];
        let decoded = |text| BASE64_STANDARD_NO_PAD.decode(text).map_err(|_| damaged);
        Ok(Self {
            salt: decoded(salt.unwrap_or_default())?
                .try_into()
                .map_err(|_| damaged)?,
            work: work.ok_or(foreign)?,
            body: decoded(body)?,
            signed,
            mac: decoded(mac)?,
            payload: &closed[at..],
        })
    }
}

fn encode(bytes: &[u8]) -> String {
    BASE64_STANDARD_NO_PAD.encode(bytes)
}

fn wrapping_key(passphrase: &Secret<String>, salt: &[u8; 16], work: u8) -> LessSafeKey {
    let params = scrypt::Params::new(work, 8, 1, 32).expect("the work is bounded");
    let salt = [LABEL, salt].concat();
    let mut key = Zeroizing::new([0; 32]);
    let derived = scrypt::scrypt(passphrase.reveal().as_bytes(), &salt, &params, &mut key[..]);
    derived.expect("the length is one that scrypt makes");
    cipher(&key)
}

/// Derives what protects the header.
fn mac_key(file_key: &[u8; 16]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &derived(file_key, &[], b"header")[..])
}

/// Derives what protects the content.
fn payload_key(file_key: &[u8; 16], nonce: &[u8; 16]) -> LessSafeKey {
    cipher(&derived(file_key, nonce, b"payload"))
}

fn derived(file_key: &[u8; 16], salt: &[u8], label: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    let extracted = Salt::new(HKDF_SHA256, salt).extract(file_key);
    let label = [label];
    let expanded = extracted.expand(&label, HKDF_SHA256);
    expanded
        .and_then(|expanded| expanded.fill(&mut key[..]))
        .expect("the length is one that HKDF makes");
    key
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    let key = UnboundKey::new(&CHACHA20_POLY1305, key);
    LessSafeKey::new(key.expect("the length is the cipher's"))
}

/// Eleven bytes that count, and one for the last.
fn piece_nonce(at: usize, is_last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&(at as u64).to_be_bytes());
    nonce[11] = u8::from(is_last);
    nonce
}

fn seal(key: &LessSafeKey, nonce: [u8; aead::NONCE_LEN], content: &mut Vec<u8>) {
    let nonce = Nonce::assume_unique_for_key(nonce);
    let sealed = key.seal_in_place_append_tag(nonce, Aad::empty(), content);
    sealed.expect("it is short enough for the cipher");
}

fn unseal<'a>(
    key: &LessSafeKey,
    nonce: [u8; aead::NONCE_LEN],
    closed: &'a mut [u8],
) -> Option<&'a [u8]> {
    let nonce = Nonce::assume_unique_for_key(nonce);
    let opened = key.open_in_place(nonce, Aad::empty(), closed).ok()?;
    Some(opened)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[test]
    fn what_is_closed_opens_with_its_passphrase_only() {
        let passphrase = secret("correct horse");
        for length in [0, 1, CHUNK, CHUNK + 1] {
            let content = vec![7; length];
            let closed = close_with(8, &content, &passphrase);
            assert_eq!(open(&closed, &passphrase).as_deref(), Ok(&content));
        }
        let closed = close(b"tokens", &passphrase);
        assert!(!closed.windows(6).any(|piece| piece == b"tokens"));
        let other = open(&closed, &secret("correct horsf"));
        assert_eq!(other, Err(EnvelopeError::Passphrase));
    }

    /// Made by an implementation of age that is not this one.
    const BY_AGE: &str = "\
        YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IHNjcnlwdCBGbDN0eEUvNnN6dEhFWi9EanQxSyt3IDE4Cmd3\
        QkxqejdLZm5tNUVFRFZxN1ZyaXB0N1pwbXN1YVNKTVRQKzVBakx3TlkKLS0tIG9QdjNDbUg3d09wRlF2\
        MlBVeVZoVXFUaXUvY2ZPeCtUeDNKMVpRa1B2R2cK/pEuxqKie+Lj/89Ufx/743Cqv4EBb6KvMSKl9cYW\
        Y8sfLOEZJCs=";

    #[test]
    fn what_age_has_closed_opens() {
        let closed = base64::prelude::BASE64_STANDARD.decode(BY_AGE);
        let closed = closed.expect("it is written above");
        let opened = open(&closed, &secret("correct horse"));
        assert_eq!(opened.as_deref().map(Vec::as_slice), Ok(&b"tokens"[..]));
    }

    #[test]
    fn what_is_not_as_it_was_made_is_refused() {
        let passphrase = secret("x");
        let closed = close_with(8, &[7; 100], &passphrase);
        for end in [0, 10, 60, 100, 150, closed.len() - 1] {
            let refused = open(&closed[..end], &passphrase);
            assert!(refused.is_err(), "{end}");
        }
        for at in [closed.len() - 1, closed.len() - 110, 100] {
            let mut damaged = closed.clone();
            damaged[at] ^= 1;
            assert!(open(&damaged, &passphrase).is_err(), "{at}");
        }
        for foreign in [
            "",
            "age-encryption.org/v2\n",
            "age-encryption.org/v1\n-> X25519 abc\nabc\n--- abc\n",
            "age-encryption.org/v1\n-> scrypt bBjlhJVYZeE4aqUdmtRHfw 40\nabc\n--- abc\n",
            "{}",
        ] {
            let refused = open(foreign.as_bytes(), &passphrase);
            assert_eq!(refused, Err(EnvelopeError::Foreign), "{foreign}");
        }
    }
}
