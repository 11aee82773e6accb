package io.winnow.examples.bench.speed;

import com.google.gson.Gson;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.kernel.fused.MatrixProducts.Product;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/**
 * Hugging Face Transformers as a process that holds the same model and is told when to compute, so
 * that its runs alternate with winnow's. Closing it ends the process.
 */
final class TransformersBaseline implements AutoCloseable {
  private static final Gson GSON = new Gson();
  private static final int END_SECONDS = 10;

  private final Path python;
  private final Path complaints;
  private final Process process;
  private final BufferedWriter requests;
  private final BufferedReader answers;

  /**
   * Starts the process, which loads the model at the first request.
   *
   * @param python the interpreter, whose environment has torch and transformers
   * @param script {@code transformers_speed.py}
   * @throws InvalidInputException if it cannot be started
   */
  TransformersBaseline(
      Path python, Path script, Path model, String type, String device, int threads) {
    this.python = python;
    if (!Files.isRegularFile(script)) {
      throw new InvalidInputException(
          "--python needs " + script + ", which is not there; run winnow from its source folder");
    }
    try {
      complaints = Files.createTempFile("winnow-python", ".log");
      process =
          new ProcessBuilder(
                  python.toString(),
                  script.toString(),
                  model.toString(),
                  type,
                  device,
                  Integer.toString(threads))
              .redirectError(complaints.toFile())
              .start();
    } catch (IOException e) {
      throw new InvalidInputException(
          "--python: cannot start " + python + "; name a Python with torch and transformers", e);
    }
    requests = process.outputWriter(StandardCharsets.UTF_8);
    answers = process.inputReader(StandardCharsets.UTF_8);
  }

  /**
   * Seconds of the prefill and of all further tokens.
   *
   * @param decode 0 where there is one new token
   */
  record Times(double prefill, double decode) {}

  /** Generates greedily by each implementation of the experts; returns their times by name. */
  Map<String, Times> generate(List<long[]> prompts, int tokens) {
    JsonObject request = new JsonObject();
    request.add("ids", GSON.toJsonTree(prompts));
    request.addProperty("tokens", tokens);
    Map<String, Times> times = new LinkedHashMap<>();
    for (Map.Entry<String, JsonElement> entry : ask(request).entrySet()) {
      JsonObject seconds = entry.getValue().getAsJsonObject();
      times.put(
          "Transformers, " + entry.getKey(),
          new Times(seconds.get("prefill").getAsDouble(), seconds.get("decode").getAsDouble()));
    }
    return times;
  }

  /** Returns the seconds of matrix products alone; null where there is none. */
  @Nullable Double products(List<Product> products) {
    if (products.isEmpty()) {
      return null;
    }
    JsonArray rows = new JsonArray();
    for (Product product : products) {
      JsonArray row = new JsonArray();
      row.add(product.rows());
      row.add(product.inner());
      row.add(product.columns());
      row.add(product.weight());
      rows.add(row);
    }
    JsonObject request = new JsonObject();
    request.add("products", rows);
    return ask(request).get("seconds").getAsDouble();
  }

  private JsonObject ask(JsonObject request) {
    @Nullable String answer;
    try {
      requests.write(GSON.toJson(request));
      requests.newLine();
      requests.flush();
      answer = answers.readLine();
    } catch (IOException e) { // It has ended, and says why elsewhere.
      throw failure();
    }
    if (answer == null) {
      throw failure();
    }
    try {
      return JsonParser.parseString(answer).getAsJsonObject();
    } catch (JsonParseException | IllegalStateException e) {
      throw new InvalidInputException(
          "--python: " + python + " answered '" + answer + "' in place of JSON", e);
    }
  }

  private InvalidInputException failure() {
    String last = "";
    try {
      for (String line : Files.readAllLines(complaints)) {
        last = line.isBlank() ? last : line;
      }
    } catch (IOException e) {
      last = e.toString();
    }
    return new InvalidInputException(
        "--python: "
            + python
            + " ended early: "
            + last
            + "; it needs torch, transformers, and memory for the model once more");
  }

  @Override
  public void close() {
    process.destroy();
    try {
      if (!process.waitFor(END_SECONDS, TimeUnit.SECONDS)) {
        process.destroyForcibly();
      }
      Files.deleteIfExists(complaints);
    } catch (InterruptedException e) {
      process.destroyForcibly();
      Thread.currentThread().interrupt();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
