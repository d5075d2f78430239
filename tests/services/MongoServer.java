import de.bwaldvogel.mongo.MongoCollection;
import de.bwaldvogel.mongo.MongoDatabase;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.CollectionOptions;
import de.bwaldvogel.mongo.backend.CursorRegistry;
import de.bwaldvogel.mongo.backend.Index;
import de.bwaldvogel.mongo.backend.IndexKey;
import de.bwaldvogel.mongo.backend.KeyValue;
import de.bwaldvogel.mongo.backend.QueryResult;
import de.bwaldvogel.mongo.backend.ValueComparator;
import de.bwaldvogel.mongo.backend.h2.H2Backend;
import de.bwaldvogel.mongo.backend.h2.H2Collection;
import de.bwaldvogel.mongo.backend.h2.H2Database;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.wire.message.MongoMessage;
import java.util.List;
import org.h2.mvstore.MVMap;
import org.h2.mvstore.MVStore;
import org.h2.mvstore.type.ObjectDataType;

/**
 * MongoDB's protocol over a file of H2's: {@code java MongoServer PORT FILE}.
 *
 * <p>What mongo-java-server's own main class does not give: a command is carried out alone, and its effect is in the file
 * before it is answered, so that a kill loses nothing that was confirmed; the version is one that today's drivers accept; and
 * whoever names a document's id pays for one document.
 */
public final class MongoServer {
    /** Keys of an index are compared by their values. By itself H2 serializes both for that: most of what a write took. */
    private static final class Keys extends ObjectDataType {
        private static final ValueComparator VALUES = ValueComparator.asc();

        @Override
        public int compare(Object one, Object other) {
            if (!(one instanceof KeyValue) || !(other instanceof KeyValue)) {
                return super.compare(one, other);
            }
            KeyValue mine = (KeyValue) one;
            KeyValue theirs = (KeyValue) other;
            int found = Integer.compare(mine.size(), theirs.size());
            for (int i = 0; found == 0 && i < mine.size(); i++) {
                found = VALUES.compare(mine.get(i), theirs.get(i));
            }
            return found;
        }
    }

    /** A query that names an id and more reads that one document, as in MongoDB, and not the whole collection. */
    private static final class Collection extends H2Collection {
        Collection(
                MongoDatabase database,
                String name,
                CollectionOptions options,
                MVStore store,
                String space,
                CursorRegistry cursors) {
            super(database, name, options, store.openMap("databases." + space), store.openMap("meta." + space), cursors);
        }

        @Override
        protected QueryResult queryDocuments(
                Document query, Document order, int skip, int limit, int batch, Document fields) {
            if (query.size() > 1 && query.containsKey("_id")) {
                Document id = new Document("_id", query.get("_id"));
                for (Index<Object> index : getIndexes()) {
                    if (index.canHandle(id)) {
                        return matchDocuments(query, index.getPositions(id), order, skip, limit, batch, fields);
                    }
                }
            }
            return super.queryDocuments(query, order, skip, limit, batch, fields);
        }
    }

    private static final class Backend extends H2Backend {
        Backend(MVStore store) {
            super(store);
        }

        private final class Database extends H2Database {
            Database(String name) {
                super(name, getMvStore(), getCursorRegistry());
            }

            @Override
            protected Index<Object> openOrCreateUniqueIndex(
                    String collection, String name, List<IndexKey> keys, boolean sparse) {
                // A map that is open already is taken as it is.
                String index = getFullCollectionNamespace(collection) + "._index_" + name;
                getMvStore().openMap(index, new MVMap.Builder<Object, Object>().keyType(new Keys()));
                return super.openOrCreateUniqueIndex(collection, name, keys, sparse);
            }

            @Override
            protected MongoCollection<Object> openOrCreateCollection(String name, CollectionOptions options) {
                String space = getFullCollectionNamespace(name);
                return new Collection(this, name, options, getMvStore(), space, cursorRegistry);
            }
        }

        @Override
        protected MongoDatabase openOrCreateDatabase(String name) {
            return new Database(name);
        }

        @Override
        public synchronized Document handleMessage(MongoMessage message) {
            Document answer = super.handleMessage(message);
            getMvStore().commit();
            return answer;
        }
    }

    private static final class Version implements MongoVersion {
        @Override
        public List<Integer> getVersionArray() {
            return List.of(5, 0, 0);
        }

        @Override
        public int getWireVersion() {
            return 13;
        }
    }

    private MongoServer() {}

    public static void main(String[] arguments) {
        MVStore store = new MVStore.Builder().fileName(arguments[1]).open();
        // Milliseconds for which space that is not needed any more stays unused, lest a loss of power bring it back.
        store.setRetentionTime(0);
        Backend backend = new Backend(store);
        backend.version(new Version());
        var server = new de.bwaldvogel.mongo.MongoServer(backend);
        Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
        server.bind("127.0.0.1", Integer.parseInt(arguments[0]));
    }
}
