use super::*;

/// The document of the API has the routes, and the members of question and answer.
#[tokio::test]
async fn openapi_describes_what_is_served() {
    let rig = rig(true).await;
    let served = rig.client.get("/openapi.json").await.unwrap();
    let document: Value = served.json().unwrap();
    for (path, calls) in document["paths"].as_object().unwrap() {
        for method in calls.as_object().unwrap().keys() {
            // The daemon answers another method with 405, and an unknown path with 404.
            let status = match method.as_str() {
                "get" => rig.status(path).await,
                _ => match rig.client.post_json(path, &json!({})).await {
                    Ok(answer) => answer.status,
                    Err(error) => error.status().unwrap(),
                },
            };
            assert!(status != 404 && status != 405, "{method} {path}: {status}");
        }
    }
    assert_eq!(served.text(), crate::daemon::openapi().unwrap());
    let schemas = &document["components"]["schemas"];
    let question = schemas["Question"]["properties"].as_object().unwrap();
    let mut asked = rig.question(1);
    asked["address"] = json!("192.0.2.1");
    assert_eq!(
        question.keys().collect::<Vec<_>>(),
        asked.as_object().unwrap().keys().collect::<Vec<_>>()
    );
    let described = schemas["Answer"]["properties"].as_object().unwrap();
    let (allowed, refused) = (rig.ask(&asked).await, rig.ask(&asked).await);
    let mut seen = std::collections::BTreeSet::new();
    for answer in [&allowed, &refused] {
        seen.extend(answer.as_object().unwrap().keys());
    }
    assert_eq!(described.keys().collect::<std::collections::BTreeSet<_>>(), seen);
    for required in schemas["Answer"]["required"].as_array().unwrap() {
        assert!(allowed.get(required.as_str().unwrap()).is_some(), "{required}");
        assert!(refused.get(required.as_str().unwrap()).is_some(), "{required}");
    }
    rig.end().await;
}

/// The document in `docs/` is the one that is served.
#[test]
fn the_committed_document_is_current() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi-agent.json");
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    let made = crate::daemon::openapi().unwrap();
    let mut lines = committed.lines().zip(made.lines());
    let differs = lines.position(|(committed, made)| committed != made);
    assert!(
        committed == made,
        "docs/openapi-agent.json differs in line {differs:?}: run cargo run --quiet -- openapi --of agent > docs/openapi-agent.json"
    );
}
