//! The examples of RFC 7515 (A.2, A.3), RFC 8037 (A) and RFC 7638 (3.1), and keys as
//! OpenSSL, Node and Java write them.

use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::Value;

use super::key::KeyError;
use super::public::PublicJwk;
use super::*;

const EC_JWK: &str = include_str!("fixtures/ec.jwk.json");
const ED_JWK: &str = include_str!("fixtures/ed.jwk.json");
const RSA_JWK: &str = include_str!("fixtures/rsa.jwk.json");
const EC_PKCS8: &str = include_str!("fixtures/ec.pkcs8.pem");
const ED_PKCS8: &str = include_str!("fixtures/ed.pkcs8.pem");
const RSA_PKCS8: &str = include_str!("fixtures/rsa.pkcs8.pem");

/// What the examples of RFC 7515 sign.
const RFC_7515_PAYLOAD: &str =
    "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}";

fn key(text: &str) -> SigningKey {
    SigningKey::from_text(text.as_bytes()).expect("a key")
}

fn parts(token: &str) -> (Value, Value, Vec<u8>) {
    let parts: Vec<_> = token.split('.').collect();
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).expect("base64url");
    let json = |part: &str| serde_json::from_slice(&decode(part)).expect("JSON");
    assert_eq!(parts.len(), 3);
    (json(parts[0]), json(parts[1]), decode(parts[2]))
}

/// Checks a signature of ES256 with another reader of the public key.
fn is_signed_by(token: &str, public: &PublicJwk) -> bool {
    let PublicJwk::Ec { x, y, .. } = public else {
        panic!("not a key of P-256");
    };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).expect("base64url");
    let point = [vec![4], decode(x), decode(y)].concat();
    let (signed, signature) = token.rsplit_once('.').expect("a token");
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    key.verify(signed.as_bytes(), &decode(signature)).is_ok()
}

#[test]
fn rs256_signs_the_example_of_rfc_7515() {
    let expected = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt\
        cGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7\
        AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK\
        5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqv\
        hJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    for text in [RSA_JWK, RSA_PKCS8, include_str!("fixtures/rsa.pkcs1.pem")] {
        let key = key(text);
        assert_eq!(key.algorithm(), "RS256");
        assert_eq!(
            sign_texts(&key, r#"{"alg":"RS256"}"#, RFC_7515_PAYLOAD),
            expected
        );
    }
}

#[test]
fn eddsa_signs_the_example_of_rfc_8037() {
    for text in [ED_JWK, ED_PKCS8] {
        let key = key(text);
        assert_eq!(key.algorithm(), "EdDSA");
        assert_eq!(
            sign_texts(&key, r#"{"alg":"EdDSA"}"#, "Example of Ed25519 signing"),
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
        );
        let thumbprint = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
        assert_eq!(key.public().thumbprint(), thumbprint);
    }
}

#[test]
fn es256_has_the_key_of_the_example_of_rfc_7515_and_signs_as_it_does() {
    // Its own signature differs each time.
    let of_the_rfc = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt\
        cGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSA\
        pmWQxfKTUJqPP3-Kg6NU1Q";
    let texts = [
        EC_JWK,
        EC_PKCS8,
        include_str!("fixtures/ec.sec1.pem"),
        include_str!("fixtures/ec.openssl.pem"),
    ];
    for text in texts {
        let key = key(text);
        assert_eq!(key.algorithm(), "ES256");
        assert!(is_signed_by(of_the_rfc, key.public()));
        let ours = sign_texts(&key, r#"{"alg":"ES256"}"#, RFC_7515_PAYLOAD);
        assert!(is_signed_by(&ours, key.public()));
        assert_eq!(
            ours.rsplit_once('.').expect("a token").0,
            of_the_rfc.rsplit_once('.').expect("a token").0
        );
    }
}

#[test]
fn the_thumbprint_is_that_of_rfc_7638() {
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    let n = URL_SAFE_NO_PAD.decode(n).expect("base64url");
    assert_eq!(
        PublicJwk::rsa(&n, &[1, 0, 1]).thumbprint(),
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    );
}

#[test]
fn the_public_half_is_a_jwk_without_anything_private() {
    let check = |private: &str, members: &[&str]| {
        let public = json!(key(private).public());
        let private: Value = serde_json::from_str(private).expect("JSON");
        let public = public.as_object().expect("an object");
        assert_eq!(public.keys().collect::<Vec<_>>(), members);
        for (name, value) in public {
            assert_eq!(value, &private[name], "{name}");
        }
    };
    check(EC_JWK, &["crv", "kty", "x", "y"]);
    check(ED_JWK, &["crv", "kty", "x"]);
    check(RSA_JWK, &["e", "kty", "n"]);
}

#[test]
fn a_token_says_who_signed_it_and_is_one_of_a_kind() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let claims = || {
        Claims::new(now)
            .expires_at(now + Duration::from_secs(60))
            .with("iss", "me")
            .with("aud", "https://as.example/")
    };
    let named = key(ED_JWK).with_id("key-1");
    let token = sign(&named, Header::JWT, &claims());
    let (header, said, _) = parts(token.reveal());
    assert_eq!(
        header,
        json!({"alg": "EdDSA", "typ": "JWT", "kid": "key-1"})
    );
    let jti = said["jti"].as_str().expect("a text").to_owned();
    assert_eq!(jti.len(), 22);
    assert_eq!(
        said,
        json!({
            "iat": 1_700_000_000, "exp": 1_700_000_060, "jti": jti,
            "iss": "me", "aud": "https://as.example/",
        })
    );
    let (_, again, _) = parts(sign(&named, Header::JWT, &claims()).reveal());
    assert_ne!(again["jti"], said["jti"]);
    let proof = Header {
        kind: "dpop+jwt",
        carries_key: true,
    };
    let (header, ..) = parts(sign(&named, proof, &claims()).reveal());
    assert_eq!(
        header,
        json!({"alg": "EdDSA", "typ": "dpop+jwt", "jwk": named.public()})
    );
}

#[test]
fn a_made_key_is_read_again_from_its_bytes() {
    let made = SigningKey::generate();
    let again = SigningKey::from_pkcs8(made.pkcs8.reveal()).expect("a key");
    assert_eq!(made.key, again);
    assert_eq!(again.algorithm(), "ES256");
    let token = sign(&again, Header::JWT, &Claims::new(SystemTime::now()));
    assert!(is_signed_by(token.reveal(), made.key.public()));
    assert_ne!(SigningKey::generate().key, made.key);
}

#[test]
fn the_name_of_a_key_comes_with_its_jwk() {
    let named = EC_JWK.replacen('{', "{\"kid\": \"2024\", \"alg\": \"ES256\",", 1);
    assert_eq!(key(&named).id(), Some("2024"));
    assert_eq!(key(EC_JWK).id(), None);
}

#[test]
fn what_is_no_key_of_ours_says_what_is_wrong() {
    let why = |text: &str| SigningKey::from_text(text.as_bytes()).expect_err("refused");
    let check = |text: &str, expected: KeyError| assert_eq!(why(text), expected, "{text}");
    for nothing in [
        "",
        "hello",
        "{}",
        "{\"kty\": 1}",
        "-----BEGIN PRIVATE KEY-----\n",
    ] {
        check(nothing, KeyError::NotAKey);
    }
    for encrypted in [
        include_str!("fixtures/ec.encrypted.pem"),
        include_str!("fixtures/ec.encrypted.sec1.pem"),
    ] {
        check(encrypted, KeyError::Encrypted);
    }
    check(include_str!("fixtures/ec.public.pem"), KeyError::PublicOnly);
    let public = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    check(public, KeyError::PublicOnly);
    for kind in [
        include_str!("fixtures/p384.pkcs8.pem"),
        include_str!("fixtures/p384.sec1.pem"),
        r#"{"kty":"oct","k":"c2VjcmV0"}"#,
        r#"{"kty":"EC","crv":"P-384","x":"","y":"","d":""}"#,
        &RSA_JWK.replacen('{', "{\"alg\": \"PS256\",", 1),
    ] {
        check(kind, KeyError::Kind);
    }
    check(
        include_str!("fixtures/rsa1024.pkcs8.pem"),
        KeyError::TooShort,
    );
    check(
        include_str!("fixtures/ec.java.pem"),
        KeyError::PublicMissing,
    );
    let damaged = EC_PKCS8.replacen("MIGH", "MIGG", 1);
    assert!(matches!(why(&damaged), KeyError::Damaged(_)));
    let foreign = ED_JWK.replace("11qYAYKx", "AAAAAAAA");
    assert!(matches!(why(&foreign), KeyError::Damaged(_)));
    let mut few: Value = serde_json::from_str(RSA_JWK).expect("JSON");
    few.as_object_mut().expect("an object").remove("qi");
    check(
        &few.to_string(),
        KeyError::Damaged("\"qi\" is missing".into()),
    );
}

#[test]
fn nothing_private_is_shown() {
    let made = SigningKey::generate();
    let claims = Claims::new(SystemTime::now()).with("secret", "s3cret");
    let shown = format!("{made:?} {:?} {claims:?}", key(ED_JWK));
    for secret in ["nWGxne", "s3cret", "157, 97"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.contains("[redacted]"), "{shown}");
    let error = SigningKey::from_text(b"{\"kty\":\"EC\",\"d\":\"s3cret\"").expect_err("no JSON");
    assert!(!format!("{error} {error:?}").contains("s3cret"));
}

#[cfg(unix)]
#[tokio::test]
async fn a_key_file_is_read_each_time_and_only_if_it_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("key.pem");
    let allow = |mode: u32| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&path, mode).expect("set");
    };
    let file = KeyFile::new(path.clone());
    let why = || async { file.read().await.expect_err("refused").to_string() };
    assert!(why().await.starts_with("the key file cannot be used: "));
    std::fs::write(&path, EC_PKCS8).expect("written");
    allow(0o644);
    assert!(why().await.contains("run: chmod "));
    allow(0o600);
    assert_eq!(file.read().await.expect("a key").algorithm(), "ES256");
    std::fs::write(&path, ED_PKCS8).expect("written");
    assert_eq!(file.read().await.expect("a key").algorithm(), "EdDSA");
    std::fs::write(&path, "s3cret").expect("written");
    let why = why().await;
    assert!(
        why.contains("key.pem cannot be used: it holds no private key"),
        "{why}"
    );
    assert!(!why.contains("s3cret"));
}
