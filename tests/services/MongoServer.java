import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.h2.H2Backend;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.wire.message.MongoMessage;
import java.util.List;
import org.h2.mvstore.MVStore;

/**
 * MongoDB's protocol over a file of H2's: {@code java MongoServer PORT FILE}.
 *
 * <p>What mongo-java-server's own main class does not give: a command is carried out alone, and its effect is in the file
 * before it is answered, so that a kill loses nothing that was confirmed; and the version is one that today's drivers accept.
 */
public final class MongoServer {
    private static final class Backend extends H2Backend {
        Backend(MVStore store) {
            super(store);
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
