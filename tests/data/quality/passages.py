"""Running text of ordinary quality in many languages, written for the tests: one day at a small library."""

from __future__ import annotations

from collections.abc import Mapping

PASSAGES: Mapping[str, str] = {
    "en": (
        "The library at the end of our street opens at nine, but the reading room fills up only after lunch. Most of "
        "the visitors have come here for years and know which chairs creak.\n"
        "In winter the heating is turned on an hour earlier, and the caretaker puts a kettle of tea beside the door. "
        "People who wait for the bus are welcome too. Nobody asks them to read.\n"
        "Last week a boy returned a book that his grandfather had borrowed in 1974. The fine would have been larger "
        "than the price of the building, so the librarian let him off with a smile."
    ),
    "ja": (
        "私たちの町の図書館は朝九時に開きますが、閲覧室がにぎやかになるのは昼過ぎからです。長年通っている人が多く、"
        "どの椅子がきしむかまでよく知っています。\n"
        "冬になると暖房は一時間早く入り、管理人さんが入り口のそばに温かいお茶を用意してくれます。バスを待つだけの人も"
        "歓迎されていて、本を読むように言われることはありません。\n"
        "先週、ある少年が祖父の借りた本を返しに来ました。貸出日は昭和四十九年だったそうです。延滞料を計算すると建物の"
        "値段を超えてしまうので、司書は笑って許しました。"
    ),
    "zh": (
        "我们这条街尽头的图书馆早上九点开门，可是阅览室要到午饭以后才热闹起来。来的人大多是老读者，连哪把椅子会吱吱作响都"
        "一清二楚。\n"
        "到了冬天，暖气会提前一个小时打开，看门的老人还在门口放一壶热茶。等公共汽车的人也可以进来坐坐，没有人要求他们看书。\n"
        "上个星期，有个男孩来还他祖父在一九七四年借走的一本小说。如果真要算罚款，恐怕比这座楼还贵，所以管理员笑了笑就算了。"
        "那本小说现在摆在入口的玻璃柜里。"
    ),
    "ko": (
        "우리 동네 끝에 있는 도서관은 아침 아홉 시에 문을 열지만 열람실은 점심때가 지나야 붐비기 시작한다. 오래 다닌 사람이 "
        "많아서 어느 의자가 삐걱거리는지까지 잘 알고 있다.\n"
        "겨울이 되면 난방을 한 시간 일찍 켜고 관리인은 문 옆에 따뜻한 차를 준비해 둔다. 버스를 기다리는 사람도 들어와 쉴 수 "
        "있다. 아무도 책을 읽으라고 하지 않는다.\n"
        "지난주에는 한 소년이 할아버지가 오래전에 빌린 책을 돌려주러 왔다. 연체료를 계산하면 건물값보다 많았기 때문에 사서는 "
        "웃으며 그냥 보내 주었다."
    ),
    "th": (
        "ห้องสมุดที่อยู่สุดถนนของเราเปิดตอนเก้าโมงเช้า แต่ห้องอ่านหนังสือจะมีคนมากก็หลังอาหารกลางวันแล้ว คนส่วนใหญ่มาที่นี่หลายปี"
        "จนรู้ว่าเก้าอี้ตัวไหนมีเสียงดัง\n"
        "ในฤดูหนาวเจ้าหน้าที่จะเปิดเครื่องทำความร้อนเร็วขึ้นหนึ่งชั่วโมง และวางกาน้ำชาไว้ข้างประตู คนที่รอรถเมล์ก็เข้ามานั่งได้ "
        "ไม่มีใครบอกให้พวกเขาต้องอ่านหนังสือ\n"
        "เมื่อสัปดาห์ก่อนมีเด็กชายคนหนึ่งนำหนังสือที่ปู่ของเขายืมไปเมื่อหลายสิบปีก่อนมาคืน ค่าปรับคงจะแพงกว่าราคาของอาคารเสียอีก "
        "บรรณารักษ์จึงได้แต่ยิ้มและยกโทษให้"
    ),
    "ar": (
        "تفتح المكتبة التي تقع في آخر شارعنا أبوابها عند التاسعة صباحا، لكن قاعة القراءة لا تمتلئ إلا بعد الغداء. معظم الزوار "
        "يأتون إلى هنا منذ سنوات ويعرفون أي كرسي يصدر صوتا.\n"
        "في الشتاء يشغل الحارس التدفئة قبل الموعد بساعة ويضع إبريقا من الشاي قرب الباب. من ينتظر الحافلة مرحب به أيضا. لا أحد "
        "يطلب منه أن يقرأ.\n"
        "في الأسبوع الماضي أعاد ولد كتابا كان جده قد استعاره قبل خمسين عاما. كانت الغرامة ستكون أكبر من ثمن المبنى، لذلك "
        "ابتسم أمين المكتبة وسامحه."
    ),
    "he": (
        "הספרייה שבקצה הרחוב שלנו נפתחת בתשע בבוקר, אבל אולם הקריאה מתמלא רק אחרי ארוחת הצהריים. רוב המבקרים באים לכאן כבר "
        "שנים ויודעים איזה כיסא חורק.\n"
        "בחורף מפעילים את החימום שעה קודם, והשרת מניח קומקום תה ליד הדלת. גם מי שמחכה לאוטובוס מוזמן להיכנס. איש לא מבקש "
        "ממנו לקרוא.\n"
        "בשבוע שעבר החזיר ילד ספר שסבא שלו שאל לפני חמישים שנה. הקנס היה גדול יותר ממחיר הבניין כולו, ולכן הספרנית חייכה "
        "וויתרה לו על החוב הזה."
    ),
    "de": (
        "Die Bibliothek am Ende unserer Straße öffnet um neun, aber der Lesesaal füllt sich erst nach dem Mittagessen. Die "
        "meisten Besucher kommen seit Jahren und wissen, welcher Stuhl knarrt.\n"
        "Im Winter wird die Heizung eine Stunde früher eingeschaltet, und der Hausmeister stellt eine Kanne Tee neben die "
        "Tür. Wer nur auf den Bus wartet, ist auch willkommen. Niemand verlangt von ihm, dass er liest.\n"
        "Letzte Woche brachte ein Junge ein Buch zurück, das sein Großvater vor fünfzig Jahren ausgeliehen hatte. Die "
        "Gebühr wäre höher gewesen als der Preis des Hauses."
    ),
    "fr": (
        "La bibliothèque au bout de notre rue ouvre à neuf heures, mais la salle de lecture ne se remplit qu'après le "
        "déjeuner. La plupart des visiteurs viennent depuis des années et savent quelle chaise grince.\n"
        "En hiver, on allume le chauffage une heure plus tôt et le gardien pose une théière près de la porte. Ceux qui "
        "attendent le bus sont aussi les bienvenus. Personne ne leur demande de lire.\n"
        "La semaine dernière, un garçon a rendu un livre que son grand-père avait emprunté il y a cinquante ans. L'amende "
        "aurait dépassé le prix du bâtiment."
    ),
    "es": (
        "La biblioteca que está al final de nuestra calle abre a las nueve, pero la sala de lectura no se llena hasta "
        "después de comer. La mayoría de los visitantes vienen desde hace años y saben qué silla cruje.\n"
        "En invierno encienden la calefacción una hora antes y el conserje deja una tetera junto a la puerta. También son "
        "bienvenidos los que esperan el autobús. Nadie les pide que lean.\n"
        "La semana pasada un niño devolvió un libro que su abuelo se había llevado hace cincuenta años. La multa habría "
        "costado más que el edificio entero."
    ),
    "ru": (
        "Библиотека в конце нашей улицы открывается в девять, но читальный зал заполняется только после обеда. Большинство "
        "посетителей ходят сюда много лет и знают, какой стул скрипит.\n"
        "Зимой отопление включают на час раньше, и сторож ставит у двери чайник с горячим чаем. Тем, кто просто ждёт "
        "автобуса, тоже рады. Никто не требует, чтобы они читали.\n"
        "На прошлой неделе мальчик вернул книгу, которую его дед взял пятьдесят лет назад. Штраф оказался бы больше, чем "
        "стоимость всего здания, и библиотекарь его простила."
    ),
    "pt": (
        "A biblioteca no fim da nossa rua abre às nove, mas a sala de leitura só fica cheia depois do almoço. A maioria dos "
        "visitantes vem há muitos anos e sabe qual cadeira range.\n"
        "No inverno ligam o aquecimento uma hora mais cedo e o zelador deixa uma chaleira perto da porta. Quem espera o "
        "ônibus também é bem-vindo. Ninguém pede que leia.\n"
        "Na semana passada um menino devolveu um livro que o avô tinha levado há cinquenta anos. A multa teria custado mais "
        "do que o prédio inteiro, e por isso não foi cobrada."
    ),
    "it": (
        "La biblioteca in fondo alla nostra strada apre alle nove, ma la sala di lettura si riempie soltanto dopo pranzo. La "
        "maggior parte dei visitatori viene da anni e sa quale sedia scricchiola.\n"
        "D'inverno il riscaldamento si accende un'ora prima e il custode mette una teiera accanto alla porta. Anche chi "
        "aspetta l'autobus è il benvenuto. Nessuno gli chiede di leggere.\n"
        "La settimana scorsa un ragazzo ha riportato un libro che il nonno aveva preso cinquant'anni fa. La multa sarebbe "
        "stata più alta del prezzo dell'edificio."
    ),
    "el": (
        "Η βιβλιοθήκη στο τέλος του δρόμου μας ανοίγει στις εννέα, αλλά το αναγνωστήριο γεμίζει μόνο μετά το μεσημέρι. Οι "
        "περισσότεροι επισκέπτες έρχονται εδώ και χρόνια και ξέρουν ποια καρέκλα τρίζει.\n"
        "Τον χειμώνα ανάβουν τη θέρμανση μία ώρα νωρίτερα και ο φύλακας αφήνει μια τσαγιέρα δίπλα στην πόρτα. Όσοι "
        "περιμένουν το λεωφορείο είναι κι αυτοί ευπρόσδεκτοι. Κανείς δεν τους ζητά να διαβάσουν.\n"
        "Την περασμένη εβδομάδα ένα αγόρι επέστρεψε ένα βιβλίο που είχε δανειστεί ο παππούς του πριν από πενήντα χρόνια. "
        "Το πρόστιμο θα ήταν μεγαλύτερο από την αξία του κτιρίου."
    ),
    "hi": (
        "हमारी सड़क के अंत में जो पुस्तकालय है वह सुबह नौ बजे खुलता है, लेकिन पढ़ने का कमरा दोपहर के खाने के बाद ही भरता है। ज़्यादातर लोग "
        "यहाँ कई सालों से आते हैं और जानते हैं कि कौन सी कुर्सी आवाज़ करती है।\n"
        "सर्दियों में हीटर एक घंटा पहले चालू कर दिया जाता है और चौकीदार दरवाज़े के पास चाय की केतली रख देता है। जो लोग बस का इंतज़ार करते हैं "
        "उनका भी स्वागत है। कोई उनसे पढ़ने के लिए नहीं कहता।\n"
        "पिछले हफ़्ते एक लड़के ने वह किताब लौटाई जिसे उसके दादा ने पचास साल पहले लिया था। जुर्माना इमारत की कीमत से भी ज़्यादा होता, इसलिए "
        "उसे माफ़ कर दिया गया।"
    ),
    "tr": (
        "Sokağımızın sonundaki kütüphane saat dokuzda açılıyor ama okuma salonu ancak öğleden sonra doluyor. Ziyaretçilerin "
        "çoğu yıllardır buraya geliyor ve hangi sandalyenin gıcırdadığını biliyor.\n"
        "Kışın kalorifer bir saat erken yakılıyor ve kapıcı kapının yanına bir demlik çay koyuyor. Otobüs bekleyenler de "
        "içeri girebiliyor. Kimse onlardan kitap okumalarını istemiyor.\n"
        "Geçen hafta bir çocuk, dedesinin elli yıl önce aldığı bir kitabı geri getirdi. Ceza binanın fiyatından daha yüksek "
        "olurdu, bu yüzden kütüphaneci gülümsedi ve onu affetti. Kitap için yeni bir raf da ayırdılar."
    ),
    "uk": (
        "Бібліотека наприкінці нашої вулиці відчиняється о дев'ятій, але читальний зал заповнюється лише після обіду. "
        "Більшість відвідувачів приходять сюди багато років і знають, який стілець рипить.\n"
        "Узимку опалення вмикають на годину раніше, і сторож ставить біля дверей чайник із гарячим чаєм. Тих, хто просто "
        "чекає на автобус, теж запрошують. Ніхто не вимагає, щоб вони читали.\n"
        "Минулого тижня хлопчик повернув книжку, яку його дід узяв п'ятдесят років тому. Штраф був би більший за вартість "
        "усієї будівлі, тож бібліотекарка йому пробачила."
    ),
}
