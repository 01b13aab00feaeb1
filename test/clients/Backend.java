import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;

/**
 * A backend in Java, which calls /notify through the JDK's client, with the version of HTTP that its arguments name. It reads orders
 * from standard input, a line each: a count, and whether the calls are made `at once` or `in turn`. Of each order it prints how many
 * calls ended how.
 */
public class Backend {
  public static void main(String[] args) throws Exception {
    HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.valueOf(args[0])).build();
    HttpRequest request = HttpRequest.newBuilder(URI.create(args[1]))
        .header("Content-Type", "application/json")
        .header("X-API-Key", args[2])
        .POST(HttpRequest.BodyPublishers.ofString("{\"msg\":\"from Java\",\"channel\":\"msf\"}"))
        .build();
    BufferedReader orders = new BufferedReader(new InputStreamReader(System.in));
    for (String order; (order = orders.readLine()) != null;) {
      boolean atOnce = order.endsWith("at once");
      int count = Integer.parseInt(order.split(" ")[0]);
      List<CompletableFuture<String>> calls = new ArrayList<>();
      for (int i = 0; i < count; i++) {
        CompletableFuture<String> call = client.sendAsync(request, BodyHandlers.ofString())
            .handle((answer, error) -> error == null ? "" + answer.statusCode() : error.toString().replace('"', '\''));
        calls.add(call);
        if (!atOnce) call.join();
      }
      Map<String, Integer> outcomes = new TreeMap<>();
      for (CompletableFuture<String> call : calls) outcomes.merge('"' + call.join() + '"', 1, Integer::sum);
      System.out.println(outcomes.toString().replace('=', ':'));
    }
    System.exit(0);
  }
}
