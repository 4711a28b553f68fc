// PostgreSQL's JDBC driver: statements, types, batches, cursors, COPY, metadata, errors. The URL is the argument.

import java.io.StringReader;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.sql.*;
import java.util.Arrays;
import java.util.Properties;
import org.postgresql.PGConnection;

public class Jdbc {
    static void show(String what, Object... parts) {
        System.out.println(what + " " + Arrays.deepToString(parts));
    }

    static void rows(String what, ResultSet rows, String... columns) throws SQLException {
        while (rows.next()) {
            Object[] values = new Object[columns.length];
            for (int i = 0; i < columns.length; i++) values[i] = rows.getString(columns[i]);
            show(what, values);
        }
    }

    static void types(Connection c) throws SQLException {
        String[][] all = {{"int2", "7"}, {"int4", "-7"}, {"int8", "1099511627776"}, {"float4", "0.5"}, {"float8", "2.5"},
            {"numeric", "12.340"}, {"text", "it's"}, {"bool", "true"}, {"date", "2024-02-29"}, {"timestamp", "2024-02-29 12:30:00"},
            {"bytea", "\\x00ff"}, {"uuid", "00000000-0000-0000-0000-000000000005"}, {"interval", "1 day"}, {"int4[]", "{1,NULL,3}"}};
        for (String[] one : all) {
            try (PreparedStatement s = c.prepareStatement("select ?::" + one[0])) {
                // From the fifth time on the driver asks for binary.
                Object found = null;
                for (int i = 0; i < 7; i++) {
                    s.setObject(1, one[1], Types.OTHER);
                    ResultSet r = s.executeQuery();
                    r.next();
                    found = r.getObject(1);
                }
                show("type", one[0], found instanceof byte[] bytes ? Arrays.toString(bytes) : String.valueOf(found),
                    found == null ? "" : found.getClass().getName());
            }
        }
    }

    static void statements(Connection c) throws Exception {
        try (Statement s = c.createStatement()) {
            s.execute("create table j (id serial primary key, name varchar(20) not null unique, amount numeric(10, 2) default 0, at timestamptz)");
            s.execute("create index j_amount on j (amount)");
            s.execute("create view j_view as select id, name from j");
        }
        try (PreparedStatement s = c.prepareStatement("insert into j (name, amount) values (?, ?)", Statement.RETURN_GENERATED_KEYS)) {
            s.setString(1, "ann");
            s.setBigDecimal(2, new BigDecimal("1.50"));
            show("update", s.executeUpdate());
            rows("keys", s.getGeneratedKeys(), "id");
            for (int i = 0; i < 300; i++) {
                s.setString(1, "n" + i);
                s.setBigDecimal(2, new BigDecimal(i));
                s.addBatch();
            }
            show("batch", Arrays.stream(s.executeBatch()).sum());
        }
        c.setAutoCommit(false);
        try (Statement s = c.createStatement()) {
            s.setFetchSize(50);
            ResultSet r = s.executeQuery("select id from j order by id");
            int count = 0;
            while (r.next()) count++;
            show("fetched", count);
            Savepoint point = c.setSavepoint("p");
            s.executeUpdate("delete from j");
            c.rollback(point);
            r = s.executeQuery("select count(*) from j");
            r.next();
            show("savepoint", r.getLong(1));
            c.rollback();
        }
        c.setAutoCommit(true);
        for (String sql : new String[] {"selec", "select * from nosuch", "insert into j (name) values ('ann')", "select 1/0"}) {
            try (Statement s = c.createStatement()) {
                s.execute(sql);
            } catch (SQLException error) {
                show("error", error.getSQLState());
            }
        }
        c.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
        c.setReadOnly(true);
        show("level", c.getTransactionIsolation(), c.isReadOnly(), c.isValid(5));
        c.setReadOnly(false);
        Array array = c.createArrayOf("text", new Object[] {"a", null, "b,c"});
        try (PreparedStatement s = c.prepareStatement("select ?::text[], cardinality(?::text[])")) {
            s.setArray(1, array);
            s.setArray(2, array);
            ResultSet r = s.executeQuery();
            r.next();
            show("array", r.getArray(1).getArray(), r.getInt(2));
        }
        var copy = c.unwrap(PGConnection.class).getCopyAPI();
        show("copy in", copy.copyIn("copy j (id, name) from stdin", new StringReader("1000\tcopied\n")));
        StringWriter out = new StringWriter();
        show("copy out", copy.copyOut("copy (select id, name from j where id = 1000) to stdout", out), out);
        try (Statement s = c.createStatement()) {
            s.setQueryTimeout(1);
            s.execute("select pg_sleep(30)");
        } catch (SQLException error) {
            show("timeout", error.getSQLState());
        }
    }

    static void metadata(Connection c) throws SQLException {
        DatabaseMetaData m = c.getMetaData();
        show("product", m.getDatabaseProductName(), m.getDatabaseMajorVersion(), m.getMaxColumnNameLength(), m.getMaxColumnsInIndex());
        rows("schema", m.getSchemas(null, "public"), "TABLE_SCHEM");
        rows("table", m.getTables(null, "public", "j%", null), "TABLE_SCHEM", "TABLE_NAME", "TABLE_TYPE");
        rows("table kind", m.getTableTypes(), "TABLE_TYPE");
        rows("privilege", m.getTablePrivileges(null, "public", "j"), "GRANTEE", "PRIVILEGE");
        rows("function", m.getFunctions(null, "public", "%"), "FUNCTION_NAME");
        rows("procedure", m.getProcedures(null, "public", "%"), "PROCEDURE_NAME");
        rows("catalog", m.getCatalogs(), "TABLE_CAT");
        int typeCount = 0;
        try (ResultSet r = m.getTypeInfo()) {
            while (r.next()) if (r.getString("TYPE_NAME").equals("int4")) typeCount++;
        }
        show("types", typeCount);
        try (PreparedStatement s = c.prepareStatement("select id, name, amount from j where id = ?")) {
            ResultSetMetaData r = s.getMetaData();
            for (int i = 1; i <= r.getColumnCount(); i++) {
                show("result", r.getColumnName(i), r.getColumnTypeName(i), r.getPrecision(i), r.getScale(i), r.isNullable(i), r.isAutoIncrement(i), r.getTableName(i));
            }
            show("parameter", s.getParameterMetaData().getParameterTypeName(1));
        }
    }

    public static void main(String[] arguments) throws Exception {
        Properties properties = new Properties();
        properties.setProperty("user", System.getenv("PGUSER"));
        if (System.getenv("PGPASSWORD") != null) properties.setProperty("password", System.getenv("PGPASSWORD"));
        try (Connection c = DriverManager.getConnection(arguments[0], properties)) {
            types(c);
            statements(c);
            metadata(c);
            try (Statement s = c.createStatement()) {
                s.execute("drop view j_view");
                s.execute("drop table j");
            }
        }
    }
}
