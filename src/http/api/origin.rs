//! Pages of other sites get nothing: no header lets them read an answer, and what a browser sends
//! on behalf of one is refused before anybody looks at it.

use axum::{
    extract::Request,
    http::{HeaderMap, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::super::error::Error;

pub async fn refuse_others(request: Request, next: Next) -> Response {
    if is_of_another_site(request.headers(), request.uri()) {
        return Error::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "this is not for pages of other sites",
        )
        .into_response();
    }
    next.run(request).await
}

fn is_of_another_site(headers: &HeaderMap, uri: &Uri) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    if let Some(site) = text("sec-fetch-site")
        && !matches!(site, "same-origin" | "none")
    {
        return true;
    }
    let Some(origin) = text(header::ORIGIN.as_str()) else {
        return false;
    };
    let host = uri
        .authority()
        .map(axum::http::uri::Authority::as_str)
        .or_else(|| text(header::HOST.as_str()));
    let origin = origin.split_once("://").map(|(_, authority)| authority);
    origin.is_none() || origin != host
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_sends_for_another_site_is_told_from_the_rest() {
        let cases: &[(&[(&str, &str)], bool)] = &[
            (&[], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("sec-fetch-site", "same-origin")], false),
            (&[("sec-fetch-site", "same-site")], true),
            (&[("sec-fetch-site", "cross-site")], true),
            (&[("host", "a:1"), ("origin", "http://a:1")], false),
            (&[("host", "a:1"), ("origin", "http://a:2")], true),
            (&[("host", "a:1"), ("origin", "null")], true),
            (&[("origin", "http://a:1")], true),
        ];
        for (given, refused) in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in *given {
                headers.insert(
                    axum::http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    value.parse().unwrap(),
                );
            }
            let uri = Uri::from_static("/api/v1/runs");
            assert_eq!(is_of_another_site(&headers, &uri), *refused, "{given:?}");
        }
    }
}
