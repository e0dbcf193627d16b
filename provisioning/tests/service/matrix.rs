//! Role × tenant × endpoint: every operation of the served document, asked by every kind of account.

use std::collections::BTreeMap;

use serde_json::{json, Value};
use tessera_runtime::http::{HttpClient, HttpError, Method, Request, JSON};

use crate::world::{Forced, World};

const ROLES: [&str; 5] = ["viewer", "fleet", "security", "admin", "feed"];

/// One operation, and what the document says about it.
struct Operation {
    method: Method,
    path: String,
    roles: Vec<String>,
    tenants: String,
}

/// Every operation that an operator token opens. One that does not say for whom it is fails the test.
async fn operations(world: &World) -> Vec<Operation> {
    let document: Value = world.stranger.get("/openapi.json").await.unwrap().json().unwrap();
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (name, operation) in methods.as_object().unwrap() {
            let security = operation.get("security").unwrap_or(&document["security"]);
            if security.as_array().unwrap().is_empty() {
                continue;
            }
            let roles = operation["x-roles"].as_array().unwrap_or_else(|| panic!("{name} {path}"));
            let roles = roles.iter().map(|role| role.as_str().unwrap().to_owned()).collect();
            let method = match name.as_str() {
                "get" => Method::Get,
                "post" => Method::Post,
                "put" => Method::Put,
                "patch" => Method::Patch,
                "delete" => Method::Delete,
                other => panic!("{other} {path}"),
            };
            let tenants = operation["x-tenants"].as_str().unwrap_or_else(|| panic!("{path}"));
            assert_eq!(tenants == "own", path.contains("{tenant}"), "{name} {path}");
            found.push(Operation {
                method,
                path: path.clone(),
                roles,
                tenants: tenants.to_owned(),
            });
        }
    }
    assert!(found.len() >= 33, "{}", found.len());
    found
}

fn filled(path: &str, tenant: &str) -> String {
    // A stream that ends at the newest entry.
    let path = path.replace("/v1/events", "/v1/events?seconds=0");
    let path = path.replace("{tenant}", tenant).replace("{key}", "0011223344556677");
    let path = path.replace("{operator}", "none").replace("{role}", "sensor");
    let path = path.replace("{group}", "none").replace("{device}", "none");
    let path = path.replace("{claim}", "0011223344556677").replace("{group_key}", "none");
    let path = path.replace("{authority}", &"0".repeat(64)).replace("{certificate}", "serial:1");
    path.replace("{approval}", "0011223344556677")
        .replace("{api_token}", "0011223344556677")
        .replace("{partner_token}", "0011223344556677")
        .replace("{webhook}", "0011223344556677")
        .replace("{rule}", "none")
}

/// Status and body of the answer to a request without meaning: nothing is changed by it.
async fn ask(client: &HttpClient, method: Method, path: &str) -> (u16, Value) {
    let request = Request::new(method, path);
    let request = match method {
        Method::Get | Method::Delete => request,
        _ => request.body(JSON, br#"{"none":0}"#.to_vec()),
    };
    match client.send(request).await {
        Ok(answer) => (answer.status, answer.json().unwrap_or(Value::Null)),
        Err(HttpError::Status { response, .. }) => (response.status, response.json().unwrap()),
        Err(error) => panic!("{path}: {error}"),
    }
}

async fn accounts(world: &World, tenants: Value) -> BTreeMap<&'static str, HttpClient> {
    let mut made = BTreeMap::new();
    for role in ROLES {
        let name = format!("{role}-{}", made.len() + tenants.to_string().len());
        let body = json!({ "operator": name, "roles": [role], "tenants": tenants });
        let answer = world.post("/v1/operators", body).await;
        made.insert(role, world.with_token(answer["token"].as_str().unwrap()));
    }
    made
}

async fn world() -> World {
    let world = World::with(|config| config.admission.wrong.burst = 100_000).await;
    for tenant in ["acme", "other"] {
        world.post("/v1/tenants", json!({ "tenant": tenant })).await;
    }
    world
}

#[tokio::test]
async fn each_account_does_what_its_role_and_its_tenants_allow() {
    let world = world().await;
    let everywhere = accounts(&world, json!("all")).await;
    let bound = accounts(&world, json!(["acme"])).await;
    let mut asked = 0;
    for Operation { method, path, roles, tenants } in operations(&world).await {
        // It would change the state of others: its answers are checked in other tests.
        let harmless = !path.ends_with("/rotate") && path != "/v1/tenants/{tenant}/revoke";
        for role in ROLES {
            let may = roles.iter().any(|one| one == role);
            let what = format!("{role} {method:?} {path}");
            if !may || harmless && path != "/v1/trust/known" {
                let (status, body) = ask(&everywhere[role], method, &filled(&path, "acme")).await;
                assert_eq!(status == 403, !may, "{what}: {status} {body}");
                asked += 1;
            }
            let client = &bound[role];
            let own = ask(client, method, &filled(&path, "other")).await;
            let none = ask(client, method, &filled(&path, "nothing")).await;
            asked += 2;
            if !may {
                assert_eq!((own.0, none.0), (403, 403), "{what}");
                continue;
            }
            match tenants.as_str() {
                // A tenant of others is answered like one that does not exist, to the last byte.
                "own" => {
                    assert_eq!((own.0, &own.1["code"]), (404, &json!("tenant_unknown")), "{what}");
                    assert_eq!(own, none, "{what}");
                    if harmless {
                        let (status, body) = ask(client, method, &filled(&path, "acme")).await;
                        assert!(status != 403 && body["code"] != "tenant_unknown", "{what} {body}");
                    }
                }
                "all" => {
                    assert_eq!((own.0, &own.1["code"]), (403, &json!("operator_not_allowed")))
                }
                "among" => assert_ne!(own.0, 403, "{what}"),
                other => panic!("{what}: {other}"),
            }
        }
    }
    assert!(asked > 470, "{asked}");
}

#[tokio::test]
async fn lists_hold_what_is_of_the_tenants_of_the_account() {
    let world = world().await;
    let bound = accounts(&world, json!(["acme", "default"])).await;
    let names = |list: &Value, member: &str| -> Vec<String> {
        let items = list["items"].as_array().unwrap().iter();
        items.map(|one| one[member].as_str().unwrap().to_owned()).collect()
    };
    let get = async |role: &str, path: &str| -> Value {
        bound[role].get(path).await.unwrap().json().unwrap()
    };
    assert_eq!(names(&get("viewer", "/v1/tenants").await, "tenant"), ["acme", "default"]);
    let first = get("viewer", "/v1/tenants?limit=1").await;
    assert_eq!(
        (names(&first, "tenant"), &first["next"]),
        (vec!["acme".to_owned()], &json!("acme"))
    );
    let second = get("viewer", "/v1/tenants?limit=1&cursor=acme").await;
    assert_eq!(
        (names(&second, "tenant"), &second["next"]),
        (vec!["default".to_owned()], &Value::Null)
    );
    let whoami = get("viewer", "/v1/whoami").await;
    assert_eq!(whoami["tenants"], json!(["acme", "default"]));

    // Accounts: those within its tenants, and no others.
    let roles = ["viewer"];
    let make = |name: &str, tenants: Value| json!({ "operator": name, "roles": roles, "tenants": tenants });
    world.post("/v1/operators", make("theirs", json!(["other"]))).await;
    world.post("/v1/operators", make("both", json!(["acme", "other"]))).await;
    bound["admin"].post_json("/v1/operators", &make("ours", json!(["acme"]))).await.unwrap();
    let listed = names(&get("admin", "/v1/operators").await, "operator");
    assert!(listed.contains(&"ours".to_owned()), "{listed:?}");
    for hidden in ["theirs", "both", "bootstrap", "feed"] {
        assert!(!listed.contains(&hidden.to_owned()), "{listed:?}");
        let gone = ask(&bound["admin"], Method::Delete, &format!("/v1/operators/{hidden}")).await;
        let none = ask(&bound["admin"], Method::Delete, "/v1/operators/nothing").await;
        assert_eq!(gone, none);
    }
    for (tenants, code) in [
        (json!(["other"]), "tenant_unknown"),
        (json!(["nothing"]), "tenant_unknown"),
        (json!(["acme", "other"]), "tenant_unknown"),
        (json!("all"), "operator_not_allowed"),
    ] {
        let made = bound["admin"].post_json("/v1/operators", &make("more", tenants)).await;
        assert_eq!(crate::world::problem(made).1, code);
    }
    bound["admin"].delete_any("/v1/operators/ours").await.unwrap();

    // The audit log: entries of its tenants, page by page.
    let mut path = "/v1/audit?limit=1".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = get("security", &path).await;
        seen.extend(page["items"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(next) => path = format!("/v1/audit?limit=1&cursor={next}"),
            None => break,
        }
    }
    let of = |entry: &Value| entry["tenant"].as_str().unwrap().to_owned();
    assert!(seen.iter().all(|entry| ["acme", "default"].contains(&of(entry).as_str())), "{seen:?}");
    let actions: Vec<_> = seen.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    let known = ["service.found", "tenant.create", "operator.create", "operator.delete"];
    assert_eq!(actions, known);
    let all = world.get("/v1/audit?limit=1000").await;
    assert!(all["items"].as_array().unwrap().len() > seen.len() + 5);
}

/// Rows of former versions have no tenants.
#[tokio::test]
async fn accounts_outlive_a_restart_with_their_tenants() {
    let world = world().await;
    let body = json!({ "operator": "ann", "roles": ["viewer"], "tenants": ["acme"] });
    let token = world.post("/v1/operators", body).await["token"].as_str().unwrap().to_owned();
    let world = world.restart().await;
    let ann = world.with_token(&token);
    ann.get("/v1/tenants/acme").await.unwrap();
    assert_eq!(crate::world::problem(ann.get("/v1/tenants/other").await).0, 404);
    let listed = world.get("/v1/operators").await;
    let of = |name: &str| {
        let items = listed["items"].as_array().unwrap();
        items.iter().find(|one| one["operator"] == name).unwrap()["tenants"].clone()
    };
    assert_eq!((of("ann"), of("bootstrap")), (json!(["acme"]), json!("all")));
}
