//! The count of open claims of a tenant with very many of them: it is not made anew by each call.

use actix_web::http::Method;
use serde_json::{json, Value};
use tessera_runtime::secret::read_secret_text;
use tessera_runtime::sql::Batch;

use super::*;
use crate::limits::OPEN_CLAIMS;
use crate::records::claim_counts::ClaimCount;
use crate::tables::one;

const CLAIMS: &str = "/v1/tenants/default/claims";

#[test]
fn open_claims_are_counted_anew_now_and_then_alone() {
    actix_rt::System::new().block_on(async {
        let rig = Rig::new(NOW);
        let service = rig.start(|_| {}).await.unwrap();
        let token = read_secret_text(&rig.dir.path().join("operator.token")).unwrap();
        let app = App::new().app_data(web::Data::from(service.clone())).configure(rest::configure);
        let app = init_service(app).await;
        let call = async |method: Method, path: &str, body: Value| {
            let request = as_operator(token.expose(), path, &body.to_string()).method(method);
            let request = request.insert_header(("if-match", "*"));
            let answer = call_service(&app, request.to_request()).await;
            let status = answer.status();
            (status, serde_json::from_slice::<Value>(&read_body(answer).await).unwrap_or_default())
        };
        let make = async |count: u64| {
            call(Method::POST, CLAIMS, json!({ "role": "sensor", "count": count })).await
        };
        let known = async || {
            let row = one(default_tenant().as_str());
            service.tables.claim_counts.get(row).await.unwrap().unwrap()
        };
        let (made, told) = make(2).await;
        assert!(made.is_success(), "{told}");
        assert_eq!(known().await.open, 2);

        // As after the use of nearly a million claims.
        let counted = NOW.get();
        let mut batch = Batch::new();
        let full = ClaimCount { open: OPEN_CLAIMS - 1, counted };
        batch.put(&service.tables.claim_counts, one(default_tenant().as_str()), &full);
        service.database.commit(batch).await.unwrap();
        assert!(make(1).await.0.is_success());
        assert_eq!(make(1).await.0, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(known().await, ClaimCount { open: OPEN_CLAIMS, counted });
        // A deleted claim gives its place without a count.
        let path = format!("{CLAIMS}/{}", told["claims"][0]["claim"].as_str().unwrap());
        assert!(call(Method::DELETE, &path, json!(null)).await.0.is_success());
        assert_eq!(known().await, ClaimCount { open: OPEN_CLAIMS - 1, counted });
        assert!(make(1).await.0.is_success());
        rig.clock.advance(std::time::Duration::from_secs(49));
        assert_eq!(make(1).await.0, StatusCode::TOO_MANY_REQUESTS);
        rig.clock.advance(std::time::Duration::from_secs(1));
        assert!(make(1).await.0.is_success());
        assert_eq!(known().await, ClaimCount { open: 4, counted: counted + 50 });
        chained(&service).await;
        rig.database.close().await.unwrap();
    });
}
