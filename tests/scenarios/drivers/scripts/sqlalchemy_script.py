"""SQLAlchemy 2 over the driver that is named as argument: connect, ORM, reflection. Connects by PG* variables."""
import asyncio
import datetime as dt
import decimal
import os
import sys
import uuid

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext import asyncio as sa_asyncio

driver = sys.argv[1]


class Base(orm.DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "author"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(sa.String(50), unique=True)
    born: orm.Mapped[dt.date | None]
    books: orm.Mapped[list["Book"]] = orm.relationship(
        back_populates="author", order_by="Book.id", primaryjoin="Author.id == foreign(Book.author_id)")


class Book(Base):
    __tablename__ = "book"
    id: orm.Mapped[int] = orm.mapped_column(sa.Identity(), primary_key=True)
    author_id: orm.Mapped[int] = orm.mapped_column(index=True)
    title: orm.Mapped[str]
    price: orm.Mapped[decimal.Decimal] = orm.mapped_column(sa.Numeric(10, 2), sa.CheckConstraint("price >= 0", name="price_known"))
    code: orm.Mapped[uuid.UUID | None]
    tags: orm.Mapped[list[str] | None] = orm.mapped_column(sa.ARRAY(sa.Text))
    added: orm.Mapped[dt.datetime] = orm.mapped_column(sa.DateTime(timezone=True), server_default=sa.func.now())
    author: orm.Mapped[Author] = orm.relationship(
        back_populates="books", primaryjoin="foreign(Book.author_id) == Author.id")


def work(connection):
    """Everything, on one connection of either kind."""
    print("dialect", connection.dialect.server_version_info[0], connection.dialect.default_schema_name)
    Base.metadata.drop_all(connection)
    Base.metadata.create_all(connection)
    Base.metadata.create_all(connection)
    with orm.Session(bind=connection) as session:
        ann = Author(name="Ann", born=dt.date(1970, 1, 1))
        ann.books = [Book(title=f"Book {i}", price=decimal.Decimal(i), tags=["x", "y"]) for i in range(5)]
        session.add_all([ann, Author(name="Bea")])
        session.flush()
        print("ids", ann.id, [book.id for book in ann.books], ann.books[0].added is not None)
        found = session.scalars(sa.select(Author).options(orm.selectinload(Author.books)).order_by(Author.id)).all()
        print("loaded", [(author.name, len(author.books)) for author in found])
        print("joined", session.execute(
            sa.select(Author.name, sa.func.count(Book.id), sa.func.sum(Book.price))
            .join(Author.books, isouter=True).group_by(Author.name).order_by(Author.name)).all())
        session.execute(sa.update(Book).where(Book.price > 2).values(price=Book.price * 2))
        session.expire_all()
        print("updated", [str(book.price) for book in ann.books])
        print("deleted", session.execute(sa.delete(Book).where(Book.price == 0).returning(Book.title)).scalars().all())
        print("one", session.get(Author, ann.id).name, session.scalar(sa.select(sa.func.max(Book.price))))
        print("in", session.scalars(sa.select(Book.id).where(Book.title.in_(["Book 1", "Book 2"])).order_by(Book.id)).all())
        print("like", session.scalars(sa.select(Book.title).where(Book.title.ilike("book%")).order_by(Book.title).limit(2).offset(1)).all())
        print("exists", session.scalars(sa.select(Author.name).where(Author.books.any(Book.price > 1))).all())
        try:
            with session.begin_nested():
                session.add(Author(name="Ann"))
                session.flush()
        except sa.exc.IntegrityError as error:
            print("unique", type(error).__name__)
        print("after", session.scalar(sa.select(sa.func.count(Author.id))))
        upsert = sa.dialects.postgresql.insert(Author).values(name="Ann").on_conflict_do_update(
            index_elements=["name"], set_={"born": None}).returning(Author.id)
        print("upsert", session.execute(upsert).scalar() == ann.id)
        session.commit()


def reflect(connection):
    inspector = sa.inspect(connection)
    print("schemas", "public" in inspector.get_schema_names())
    print("tables", sorted(inspector.get_table_names()), inspector.get_view_names(), inspector.get_sequence_names())
    print("has", inspector.has_table("book"), inspector.has_table("nosuch"))
    for table in ("author", "book"):
        print("key", inspector.get_pk_constraint(table), inspector.get_foreign_keys(table))
        print("unique", [c["name"] for c in inspector.get_unique_constraints(table)],
              [c["name"] for c in inspector.get_check_constraints(table)])
        print("indexes", [(i["name"], i["column_names"], i["unique"]) for i in inspector.get_indexes(table)])


async def asynchronous():
    engine = sa_asyncio.create_async_engine("postgresql+asyncpg:///?port=" + os.environ["PGPORT"])
    async with engine.connect() as connection:
        await connection.run_sync(work)
        await connection.commit()
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
    await engine.dispose()


if driver == "asyncpg":
    asyncio.run(asynchronous())
else:
    engine = sa.create_engine(f"postgresql+{driver}://", pool_size=2)
    with engine.connect() as connection:
        work(connection)
        connection.commit()
    with engine.connect() as connection:
        reflect(connection)
    with engine.begin() as connection:
        Base.metadata.drop_all(connection)
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        print("level", connection.scalar(sa.text("show transaction_isolation")))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        print("autocommit", connection.scalar(sa.text("select 1")))
    with engine.connect().execution_options(stream_results=True) as connection:
        print("streamed", len(connection.execute(sa.text("select generate_series(1, 1000)")).all()))
    engine.dispose()
