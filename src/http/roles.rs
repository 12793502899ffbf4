//! Roles and permissions, to admins.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Serialize;
use serde_json::Value;

use super::auth::Caller;
use super::extract::{self, Body, Fields, Given, OptionalBody, PathUuid, read};
use super::page::{Page, WholeList};
use super::problem::{Problem, ProblemBody};
use super::users;
use crate::engine::Engine;
use crate::store::directory::{self, User};
use crate::store::roles::{self, Permission, Role, UserPermissions};

/// Names in one request.
const MOST: usize = 1_000;

/// `{name}` of the path.
pub struct Name(String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        extract::path(parts, state, "name", read::text(255)).await.map(Self)
    }
}

/// Every role.
#[utoipa::path(
    get,
    path = "/v1/roles",
    tag = "admin",
    params(WholeList),
    responses((status = 200, body = Page<Role>), (status = 422, body = ProblemBody))
)]
pub async fn list(State(engine): State<Arc<Engine>>, list: WholeList) -> Result<Json<Page<Role>>, Problem> {
    Ok(Json(list.page(roles::list(&engine.pool).await?)))
}

/// A role.
#[utoipa::path(
    get,
    path = "/v1/roles/{name}",
    tag = "admin",
    params(("name" = String, Path, description = "Of a role")),
    responses((status = 200, body = Role), (status = 404, body = ProblemBody))
)]
pub async fn show(State(engine): State<Arc<Engine>>, Name(name): Name) -> Result<Json<Role>, Problem> {
    roles::find(&engine.pool, &name).await?.map(Json).ok_or_else(|| Problem::not_found("Role"))
}

/// The roles of a user.
#[utoipa::path(
    get,
    path = "/v1/users/{uuid}/roles",
    tag = "admin",
    params(("uuid" = Uuid, Path), WholeList),
    responses((status = 200, body = Page<Role>), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody))
)]
pub async fn of_user(
    State(engine): State<Arc<Engine>>,
    PathUuid(uuid): PathUuid,
    list: WholeList,
) -> Result<Json<Page<Role>>, Problem> {
    let user = users::id_of(&engine, uuid).await?;
    Ok(Json(list.page(roles::of_user(&engine.pool, user).await?)))
}

/// What a user is permitted, by himself and by his roles.
#[utoipa::path(
    get,
    path = "/v1/users/{uuid}/permissions",
    tag = "admin",
    params(("uuid" = Uuid, Path)),
    responses((status = 200, body = UserPermissions), (status = 404, body = ProblemBody))
)]
pub async fn permissions_of_user(
    State(engine): State<Arc<Engine>>,
    PathUuid(uuid): PathUuid,
) -> Result<Json<UserPermissions>, Problem> {
    let user = users::id_of(&engine, uuid).await?;
    Ok(Json(roles::permissions_of_user(&engine.pool, user).await?))
}

/// Gives a user these permissions and no others, besides what his roles permit. It is written into `audit_logs`.
#[utoipa::path(
    put,
    path = "/v1/users/{uuid}/permissions",
    tag = "admin",
    params(("uuid" = Uuid, Path)),
    request_body = Permissions,
    responses((status = 200, body = UserPermissions), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody))
)]
pub async fn put_permissions_of_user(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
    Body { fields, .. }: Body,
) -> Result<Json<UserPermissions>, Problem> {
    let names = names(fields, "permissions")?;
    Ok(Json(roles::set_permissions_of_user(&engine.pool, caller.user, uuid, &names).await?))
}

/// Every permission, by name.
#[utoipa::path(
    get,
    path = "/v1/permissions",
    tag = "admin",
    params(WholeList),
    responses((status = 200, body = Page<Permission>), (status = 422, body = ProblemBody))
)]
pub async fn permissions(
    State(engine): State<Arc<Engine>>,
    list: WholeList,
) -> Result<Json<Page<Permission>>, Problem> {
    Ok(Json(list.page(roles::permissions(&engine.pool).await?)))
}

/// The roles that a user has from now on.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Roles {
    /// Names of roles; these and no others.
    #[schema(example = json!(["customer"]))]
    pub roles: Vec<String>,
}

/// Gives a user these roles and no others; felt within 2 s. It is written into `audit_logs`.
///
/// Only a super admin gives and takes `admin` and `super_admin`, and nobody his own; and only he changes the other roles of an admin.
#[utoipa::path(
    put,
    path = "/v1/users/{uuid}/roles",
    tag = "admin",
    params(("uuid" = Uuid, Path)),
    request_body = Roles,
    responses(
        (status = 200, body = User),
        (status = 404, body = ProblemBody),
        (status = 409, description = "`own_account`: nobody takes his own roles of an admin away", body = ProblemBody),
        (status = 422, body = ProblemBody)
    )
)]
pub async fn put_of_user(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    PathUuid(uuid): PathUuid,
    Body { fields, .. }: Body,
) -> Result<Json<User>, Problem> {
    let names = names(fields, "roles")?;
    let user = directory::set_roles(&engine.pool, caller.user, uuid, &names).await?;
    Ok(Json(user))
}

/// What a role permits from now on.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Permissions {
    /// Names of permissions; these and no others.
    #[schema(example = json!(["refund bookings"]))]
    pub permissions: Vec<String>,
}

/// Lets a role permit these and nothing else. It is written into `audit_logs`.
#[utoipa::path(
    put,
    path = "/v1/roles/{name}/permissions",
    tag = "admin",
    params(("name" = String, Path, description = "Of a role")),
    request_body = Permissions,
    responses((status = 200, body = Role), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody))
)]
pub async fn put_permissions(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    Name(role): Name,
    Body { fields, .. }: Body,
) -> Result<Json<Role>, Problem> {
    let names = names(fields, "permissions")?;
    let role = roles::set_permissions(&engine.pool, caller.user, &role, &names).await?;
    Ok(Json(role))
}

/// A permission.
#[utoipa::path(
    get,
    path = "/v1/permissions/{name}",
    tag = "admin",
    params(("name" = String, Path, description = "Of a permission")),
    responses((status = 200, body = Permission), (status = 404, body = ProblemBody))
)]
pub async fn show_permission(State(engine): State<Arc<Engine>>, Name(name): Name) -> Result<Json<Permission>, Problem> {
    roles::permission(&engine.pool, &name).await?.map(Json).ok_or_else(|| Problem::not_found("Permission"))
}

/// Makes a permission, unless there is one of this name. It is written into `audit_logs`.
#[utoipa::path(
    put,
    path = "/v1/permissions/{name}",
    tag = "admin",
    params(("name" = String, Path, description = "1 to 255 characters")),
    request_body = Option<Value>,
    responses((status = 200, body = Permission))
)]
pub async fn put_permission(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    Name(name): Name,
    _: OptionalBody,
) -> Result<Json<Permission>, Problem> {
    Ok(Json(roles::put_permission(&engine.pool, caller.user, &name).await?))
}

/// Takes a permission away, from every role and user that has it. It is written into `audit_logs`.
#[utoipa::path(
    delete,
    path = "/v1/permissions/{name}",
    tag = "admin",
    params(("name" = String, Path, description = "Of a permission")),
    responses((status = 204, description = "Gone"), (status = 404, body = ProblemBody))
)]
pub async fn delete_permission(
    State(engine): State<Arc<Engine>>,
    Caller(caller): Caller,
    Name(name): Name,
) -> Result<StatusCode, Problem> {
    roles::delete_permission(&engine.pool, caller.user, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn names(mut fields: Fields, field: &str) -> Result<Vec<String>, Problem> {
    let names = fields.required(field, |given| {
        let list = match given {
            Given::Json(Value::Array(list)) if list.len() <= MOST => Some(list),
            _ => None,
        };
        let names = list.map(|list| list.iter().map(|name| read::text(255)(Given::Json(name))).collect());
        let mut names: Vec<String> =
            names.and_then(Result::ok).ok_or_else(|| format!("must be a list of at most {MOST} names"))?;
        names.sort_unstable();
        names.dedup();
        Ok(names)
    });
    fields.finish(names)
}
