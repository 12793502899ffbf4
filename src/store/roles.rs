//! `roles` and `permissions` of the guard `api`. This service goes by roles; permissions are kept for the Laravel application.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;
use sqlx::{PgConnection, PgExecutor, PgPool};
use uuid::Uuid;

use super::StoreError;
use super::audit_logs::{self, Change};
use super::directory::{Refused, rank};
use super::tokens::USER_MORPH;
use crate::core::ids::UserId;

/// Laravel's morph names.
const ROLE_MORPH: &str = r"Spatie\Permission\Models\Role";
const PERMISSION_MORPH: &str = r"Spatie\Permission\Models\Permission";

/// A role and what it permits.
#[derive(Clone, Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct Role {
    /// `roles.id`
    pub id: i64,
    /// `customer`, `therapist`, `store_owner`, `admin`, `super_admin`
    #[schema(example = "customer")]
    pub name: String,
    /// Names of permissions.
    pub permissions: Vec<String>,
}

/// A permission. This service goes by roles: permissions are kept for the Laravel application.
#[derive(Clone, Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct Permission {
    /// `permissions.id`
    pub id: i64,
    /// Of one's own choosing.
    #[schema(example = "refund bookings")]
    pub name: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

macro_rules! select_role {
    ($rest:literal) => {
        concat!(
            r#"SELECT r.id, r.name::text AS name,
                      ARRAY(SELECT p.name::text COLLATE "C" FROM role_has_permissions h JOIN permissions p ON p.id = h.permission_id
                            WHERE h.role_id = r.id ORDER BY 1) AS permissions
               FROM roles r WHERE r.guard_name = 'api'"#,
            $rest
        )
    };
}

/// Every role, in the order in which they were made.
pub async fn list(pool: &PgPool) -> Result<Vec<Role>, StoreError> {
    Ok(sqlx::query_as(select_role!(" ORDER BY r.id")).fetch_all(pool).await?)
}

/// A role.
pub async fn find(pool: &PgPool, name: &str) -> Result<Option<Role>, StoreError> {
    Ok(sqlx::query_as(select_role!(" AND r.name = $1")).bind(name).fetch_optional(pool).await?)
}

/// The roles of a user, in the order in which they were made.
pub async fn of_user(pool: &PgPool, user: UserId) -> Result<Vec<Role>, StoreError> {
    let sql = select_role!(
        r" AND r.id IN (SELECT m.role_id FROM model_has_roles m WHERE m.model_id = $1 AND m.model_type = 'App\Models\User') ORDER BY r.id"
    );
    Ok(sqlx::query_as(sql).bind(user.0).fetch_all(pool).await?)
}

/// A permission.
pub async fn permission(pool: &PgPool, name: &str) -> Result<Option<Permission>, StoreError> {
    let sql = "SELECT id, name, created_at FROM permissions WHERE guard_name = 'api' AND name = $1";
    Ok(sqlx::query_as(sql).bind(name).fetch_optional(pool).await?)
}

/// What a user is permitted.
#[derive(Clone, PartialEq, Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct UserPermissions {
    /// Names of permissions: those that he has himself.
    #[schema(example = json!(["refund bookings"]))]
    pub permissions: Vec<String>,
    /// Those and what his roles permit, as the Laravel application understands it.
    #[schema(example = json!(["refund bookings", "see reports"]))]
    pub effective_permissions: Vec<String>,
}

/// What a user is permitted, by himself and by his roles.
pub async fn permissions_of_user(db: impl PgExecutor<'_>, user: UserId) -> Result<UserPermissions, StoreError> {
    let sql = r#"WITH own AS (SELECT m.permission_id FROM model_has_permissions m
                              WHERE m.model_id = $1 AND m.model_type = 'App\Models\User'),
                      of_roles AS (SELECT h.permission_id FROM model_has_roles m JOIN roles r ON r.id = m.role_id
                                   JOIN role_has_permissions h ON h.role_id = r.id
                                   WHERE m.model_id = $1 AND m.model_type = 'App\Models\User' AND r.guard_name = 'api')
                 SELECT ARRAY(SELECT p.name::text COLLATE "C" FROM permissions p
                              WHERE p.guard_name = 'api' AND p.id IN (TABLE own) ORDER BY 1) AS permissions,
                        ARRAY(SELECT p.name::text COLLATE "C" FROM permissions p
                              WHERE p.guard_name = 'api' AND p.id IN (TABLE own UNION TABLE of_roles) ORDER BY 1)
                            AS effective_permissions"#;
    Ok(sqlx::query_as(sql).bind(user.0).fetch_one(db).await?)
}

/// Gives a user these permissions and no others, besides what his roles permit.
///
/// # Errors
/// [`Refused`].
pub async fn set_permissions_of_user(
    pool: &PgPool,
    by: UserId,
    uuid: Uuid,
    names: &[String],
) -> Result<UserPermissions, Refused> {
    let mut tx = pool.begin().await?;
    super_admin(&mut tx, by).await?;
    let id: Option<i64> =
        sqlx::query_scalar("SELECT id FROM users WHERE uuid = $1 AND deleted_at IS NULL FOR NO KEY UPDATE")
            .bind(uuid)
            .fetch_optional(&mut *tx)
            .await?;
    let id = id.ok_or(Refused::NotFound("User"))?;
    let ids = known(&mut tx, names).await?;
    let before = permissions_of_user(&mut *tx, UserId(id)).await?;
    for sql in [
        r"DELETE FROM model_has_permissions m USING permissions p
          WHERE p.id = m.permission_id AND m.model_id = $1 AND m.model_type = 'App\Models\User' AND p.guard_name = 'api'
            AND p.id <> ALL ($2)",
        r"INSERT INTO model_has_permissions (permission_id, model_type, model_id)
          SELECT unnest($2::bigint[]), 'App\Models\User', $1 ON CONFLICT DO NOTHING",
    ] {
        sqlx::query(sql).bind(id).bind(&ids).execute(&mut *tx).await?;
    }
    let after = permissions_of_user(&mut *tx, UserId(id)).await?;
    if before.permissions != after.permissions {
        let [old, new] = [&before, &after].map(|has| Some(json!({"permissions": has.permissions})));
        audit_logs::write(&mut tx, Change { by, action: "updated", of: USER_MORPH, id, old, new }).await?;
    }
    tx.commit().await?;
    Ok(after)
}

/// Every permission, by name.
pub async fn permissions(pool: &PgPool) -> Result<Vec<Permission>, StoreError> {
    let sql = r#"SELECT id, name, created_at FROM permissions WHERE guard_name = 'api' ORDER BY name COLLATE "C""#;
    Ok(sqlx::query_as(sql).fetch_all(pool).await?)
}

/// Lets a role permit these and nothing else.
///
/// # Errors
/// [`Refused`].
pub async fn set_permissions(pool: &PgPool, by: UserId, role: &str, names: &[String]) -> Result<Role, Refused> {
    let mut tx = pool.begin().await?;
    super_admin(&mut tx, by).await?;
    let role: Option<Role> = sqlx::query_as(select_role!(" AND r.name = $1 FOR NO KEY UPDATE OF r"))
        .bind(role)
        .fetch_optional(&mut *tx)
        .await?;
    let before = role.ok_or(Refused::NotFound("Role"))?;
    let ids = known(&mut tx, names).await?;
    for sql in [
        "DELETE FROM role_has_permissions WHERE role_id = $1 AND permission_id <> ALL ($2)",
        "INSERT INTO role_has_permissions (role_id, permission_id) SELECT $1, unnest($2::bigint[]) ON CONFLICT DO NOTHING",
    ] {
        sqlx::query(sql).bind(before.id).bind(&ids).execute(&mut *tx).await?;
    }
    let after: Role = sqlx::query_as(select_role!(" AND r.id = $1")).bind(before.id).fetch_one(&mut *tx).await?;
    if before.permissions != after.permissions {
        let [old, new] = [&before, &after].map(|role| Some(json!({"permissions": role.permissions})));
        audit_logs::write(&mut tx, Change { by, action: "updated", of: ROLE_MORPH, id: before.id, old, new }).await?;
    }
    tx.commit().await?;
    Ok(after)
}

/// The permissions of these names, locked, so that none of them goes meanwhile.
async fn known(tx: &mut PgConnection, names: &[String]) -> Result<Vec<i64>, Refused> {
    let known: Vec<(i64, String)> = sqlx::query_as(
        "SELECT id, name::text FROM permissions WHERE name = ANY ($1) AND guard_name = 'api' ORDER BY id FOR KEY SHARE",
    )
    .bind(names)
    .fetch_all(tx)
    .await?;
    let unknown: Vec<String> =
        names.iter().filter(|name| known.iter().all(|(_, known)| known != *name)).cloned().collect();
    if !unknown.is_empty() {
        return Err(Refused::NoSuchNames("permissions", unknown));
    }
    Ok(known.into_iter().map(|(id, _)| id).collect())
}

/// Makes a permission, unless there is one of this name.
///
/// # Errors
/// [`Refused`].
pub async fn put_permission(pool: &PgPool, by: UserId, name: &str) -> Result<Permission, Refused> {
    let mut tx = pool.begin().await?;
    super_admin(&mut tx, by).await?;
    let made: Option<i64> = sqlx::query_scalar(
        "INSERT INTO permissions (name, guard_name) VALUES ($1, 'api') ON CONFLICT DO NOTHING RETURNING id",
    )
    .bind(name)
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(id) = made {
        let new = Some(json!({"name": name}));
        audit_logs::write(&mut tx, Change { by, action: "created", of: PERMISSION_MORPH, id, old: None, new }).await?;
    }
    let row = sqlx::query_as("SELECT id, name, created_at FROM permissions WHERE name = $1 AND guard_name = 'api'")
        .bind(name)
        .fetch_one(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(row)
}

/// Takes a permission away, from every role and user that has it.
///
/// # Errors
/// [`Refused`].
pub async fn delete_permission(pool: &PgPool, by: UserId, name: &str) -> Result<(), Refused> {
    let mut tx = pool.begin().await?;
    super_admin(&mut tx, by).await?;
    let gone: Option<i64> =
        sqlx::query_scalar("DELETE FROM permissions WHERE name = $1 AND guard_name = 'api' RETURNING id")
            .bind(name)
            .fetch_optional(&mut *tx)
            .await?;
    let id = gone.ok_or(Refused::NotFound("Permission"))?;
    let old = Some(json!({"name": name}));
    audit_logs::write(&mut tx, Change { by, action: "deleted", of: PERMISSION_MORPH, id, old, new: None }).await?;
    tx.commit().await?;
    Ok(())
}

async fn super_admin(tx: &mut PgConnection, by: UserId) -> Result<(), Refused> {
    if rank(tx, by).await?.super_admin { Ok(()) } else { Err(Refused::NotAllowed("This is for super admins.")) }
}
