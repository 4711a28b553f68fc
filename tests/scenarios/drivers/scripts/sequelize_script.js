// Sequelize: connect, sync, models, transactions. Connects by PG* variables.
const { Sequelize, DataTypes, Op } = require("sequelize");

const print = (...parts) => console.log(...parts.map((part) => (typeof part === "string" ? part : JSON.stringify(part))));
const { PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE } = process.env;

async function main() {
  const sequelize = new Sequelize(PGDATABASE, PGUSER, PGPASSWORD ?? "", { host: PGHOST, port: PGPORT, dialect: "postgres", logging: false });
  await sequelize.authenticate();
  print("version", (await sequelize.databaseVersion()).split(".")[0]);
  const User = sequelize.define("user", {
    name: { type: DataTypes.STRING, allowNull: false, unique: true },
    born: DataTypes.DATEONLY, score: { type: DataTypes.DECIMAL(10, 2), defaultValue: 0 }, active: DataTypes.BOOLEAN,
    tags: DataTypes.ARRAY(DataTypes.TEXT), key: DataTypes.UUID,
  }, { timestamps: false, indexes: [{ fields: ["score"] }] });
  await sequelize.sync({ force: true });
  await sequelize.sync();
  const ann = await User.create({ name: "Ann", score: 1.5, tags: ["x"], active: true });
  await User.bulkCreate([{ name: "Bea" }, { name: "Cid", score: 7 }]);
  print("created", ann.toJSON());
  print("all", (await User.findAll({ order: ["id"] })).map((user) => user.name));
  print("where", (await User.findAll({ where: { score: { [Op.gt]: 1 }, name: { [Op.like]: "%n%" } } })).map((user) => user.name));
  print("count", await User.count(), await User.max("score"));
  ann.score = 9;
  await ann.save();
  print("update", await User.update({ active: false }, { where: { name: "Bea" } }), await User.destroy({ where: { name: "Cid" } }));
  print("both", await User.findAndCountAll({ order: ["id"], limit: 1 }).then(({ count, rows }) => [count, rows.length]));
  await sequelize.transaction(async (transaction) => {
    await User.create({ name: "Dan" }, { transaction });
    throw new Error("undone");
  }).catch((error) => print("rolled back", error.message));
  await User.create({ name: "Ann" }).catch((error) => print("error", error.name, error.parent.code));
  print("upsert", (await User.upsert({ name: "Ann", score: 3 }))[0].name);
  print("tables", await sequelize.getQueryInterface().showAllTables());
  const described = await sequelize.getQueryInterface().describeTable("users");
  print("described", Object.fromEntries(Object.entries(described).map(([name, c]) => [name, [c.type, c.allowNull, c.primaryKey]])));
  print("indexes", (await sequelize.getQueryInterface().showIndex("users")).map((i) => [i.name, i.unique, i.primary]));
  await sequelize.getQueryInterface().addColumn("users", "note", DataTypes.TEXT);
  await sequelize.drop();
  await sequelize.close();
}

main().catch((error) => { console.error(error); process.exit(1); });
